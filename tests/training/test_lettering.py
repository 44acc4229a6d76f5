"""Names of any characters in figures: letter by letter, and without a warning of matplotlib."""

import io
import warnings

import pytest
import torch
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

from csgnn_dgl.tasks.classification.evaluation import score
from csgnn_dgl.tasks.classification.figures import confusion_figure
from csgnn_dgl.training.figures import new_figure
from csgnn_dgl.training.lettering import fonts_with, label, save_figure

NAMES = [
    "椅子",
    "a_b$c$_{d}",
    "$\\frac{",
    "שלום हिन्दी",
    "🙂",
    "\x07\x1b[31m\n\t",
    "_hidden",
    "x" * 300,
    "\\$1$",
    "plain",
]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cup", "cup"),
        ("a$b$", r"a\$b\$"),
        ("_cup", " _cup"),
        ("a\nb\x1b", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"),
        ("椅子", "椅子"),
        ("x" * 41 + "yz", "x" * 19 + "…" + "x" * 18 + "yz"),
    ],
)
def test_names_are_shown_letter_by_letter(name, shown):
    assert label(name) == shown


def test_no_name_breaks_a_figure_or_draws_a_warning(figures):
    figure = confusion_figure([score(torch.eye(len(NAMES)), torch.arange(len(NAMES)), "z")], NAMES)
    legend, (axes,) = new_figure(6.0, 6.0)
    for name in NAMES:
        axes.plot([0, 1], label=label(name))
    assert len(axes.get_legend_handles_labels()[1]) == len(NAMES)
    axes.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, io.BytesIO())
        save_figure(legend, io.BytesIO())


def test_letters_that_the_font_lacks_come_from_one_that_has_them(figures):
    own = FT2Font(findfont(FontProperties())).get_charmap()
    stix = next(font.fname for font in fontManager.ttflist if font.name == "STIXGeneral")
    lacking = [chr(code) for code in FT2Font(stix).get_charmap() if code not in own and chr(code).isalpha()]
    assert lacking
    chosen = fonts_with(frozenset(lacking[:3]))
    charmaps = [FT2Font(findfont(name)).get_charmap() for name in chosen]
    assert all(any(ord(letter) in charmap for charmap in charmaps) for letter in lacking[:3])
    figure, (axes,) = new_figure(3.0, 3.0)
    title = axes.set_title(label(lacking[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, io.BytesIO())
    assert title.get_fontfamily()[-1] in chosen
