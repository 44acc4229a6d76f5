"""Names of a user's own in figures: any characters, in fonts that have them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter

LONGEST = 40
"""Characters of a name that a figure has room for."""

NO_LETTERS = ("cm", "STIXNonUnicode", "STIXSize", "Last Resort")
"""How the names of fonts begin whose characters are not what their numbers say, or boxes."""


def label(name: str) -> str:
    """Return a name as matplotlib shows it letter by letter.

    Dollar signs begin no formula, a leading underscore hides no entry of a legend, what has no sign of its own (control
    characters) becomes a replacement character, and of a name that is too long the middle is left out.
    """
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[: half - 1]}…{text[-half:]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, file: str | os.PathLike[str] | IO[bytes], dpi: int = 110) -> None:
    """Write a figure; letters that its font lacks are taken from installed fonts, or drawn as boxes, without a word."""
    with _lettered(figure):
        figure.savefig(file, dpi=dpi)


def show_figure(writer: SummaryWriter, name: str, figure: Figure, step: int) -> None:
    """Show a figure in TensorBoard, with the letters of `save_figure`."""
    with _lettered(figure):
        writer.add_figure(name, figure, step)


@contextmanager
def _lettered(figure: Figure) -> Iterator[None]:
    """Choose the fonts of a figure, and keep matplotlib quiet about letters that none has while it is drawn."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        missing = frozenset(letter for letter in text.get_text() if not letter.isascii()) - _letters(_default_font())
        if missing:
            text.set_fontfamily([*text.get_fontfamily(), *fonts_with(missing)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from|Matplotlib currently does not support", UserWarning)
        yield


@cache
def fonts_with(letters: frozenset[str]) -> tuple[str, ...]:
    """Return the families of few installed fonts that have as many as possible of these letters."""
    from matplotlib.font_manager import fontManager

    regular_last = sorted(fontManager.ttflist, key=lambda font: font.weight == 400)
    upright = {font.name: font.fname for font in regular_last if font.style == "normal"}
    having = {
        name: letters & _letters(path) for name, path in sorted(upright.items()) if not name.startswith(NO_LETTERS)
    }
    chosen: list[str] = []
    left = letters
    while left:
        best = max(having, key=lambda name: len(having[name] & left), default="")
        if not best or not having[best] & left:
            break
        chosen.append(best)
        left -= having[best]
    return tuple(chosen)


def _default_font() -> str:
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties()))


@cache
def _letters(path: str) -> frozenset[str]:
    """Return the letters of a font, none of one that cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
