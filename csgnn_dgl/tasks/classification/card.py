"""The card of published weights: what they were made of, what they are worth, and what they cannot do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from csgnn_dgl.download import sha256_of
from csgnn_dgl.files import atomic_write
from csgnn_dgl.tasks.classification.calibration import Reliability
from csgnn_dgl.tasks.classification.evaluation import Score
from csgnn_dgl.tasks.classification.publishing import Published
from csgnn_dgl.training.figures import new_figure
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.training.report import markdown_table, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TURNED = {"none": "as they are", "z": "turned about the vertical axis", "SO3": "turned at random"}
"""What is said of rotations."""

SCORES = {
    "set": "{0[0]}",
    "rotation": "{0[1].rotation}",
    "shapes": "{0[1].num_shapes}",
    "accuracy": "{0[1].accuracy:.1%}",
    "95 % interval": "{0[1].interval[0]:.1%} to {0[1].interval[1]:.1%}",
    "class mean": "{0[1].class_mean_accuracy:.1%}",
}
"""Columns of the table of scores."""


def write_card(made: Published, licence: str, remarks: Sequence[str] = (), command: Sequence[str] = ()) -> Path:
    """Write ``NAME.md`` beside weights, and ``NAME.png``, the figure of their reliability.

    Parameters
    ----------
    made
        The weights.
    licence
        What may be done with them.
    remarks
        Further limits, each a sentence.
    command
        The words of the command that made them, for the card.

    Returns
    -------
    Path
        The card.
    """
    with atomic_write(made.path.with_suffix(".png")) as file:
        save_figure(reliability_figure(*made.measured.reliability), file, dpi=80)
    card = made.path.with_suffix(".md")
    with atomic_write(card) as file:
        file.write_text(card_text(made, licence, remarks, command), encoding="utf-8")
    return card


def card_text(made: Published, licence: str, remarks: Sequence[str] = (), command: Sequence[str] = ()) -> str:
    """Return the card in Markdown; see `write_card`."""
    name, measured = made.path.stem, made.measured
    description, published = made.checkpoint["csgnn"], made.checkpoint["published"]
    training, last = description["training"], measured.test[list(measured.test)[-1]]
    scores = [("validation", measured.validation), *(("test", found) for found in measured.test.values())]
    numbers = table_of(scores, SCORES)
    errors = markdown_table(
        ["set", "without temperature", "with it"],
        [[label, f"{before:.4f}", f"{after:.4f}"] for label, (before, after) in measured.errors.items()],
    )
    best = made.checkpoint["epoch"] + 1
    spent = made.history[-1]
    parameters = sum(value.numel() for key, value in made.checkpoint["state_dict"].items() if _is_parameter(key))
    facts = markdown_table(
        ["", ""],
        [
            ["model", f"`{description['model']}`, {parameters:,} parameters, {made.path.stat().st_size / 1e6:.2f} MB"],
            ["trained on", f"{measured.counts[0]:,} shapes of `{training['source']}`"],
            ["clouds", f"{description['data']['num_points']} points, in training {TURNED[training['train_rotation']]}"],
            ["validated on", f"{measured.counts[1]:,} shapes: {training['validation']}"],
            ["tested on", f"{measured.counts[2]:,} shapes"],
            ["training", f"{len(made.history)} epochs, {spent['steps']:,.0f} steps, seed {training['seed']}"],
            ["weights of", f"epoch {best}, the one of the best validation accuracy"],
            ["SHA-256", f"`{sha256_of(made.path)}`"],
            ["licence", licence],
        ],
    )
    limits = [
        f"It knows {len(made.class_names)} classes and answers with one of them, whatever it is given.",
        *_told_limits(made),
        *remarks,
    ]
    options = yaml.safe_dump(dict(made.options), sort_keys=False, allow_unicode=True).rstrip()
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A classifier of shapes: {published['title']}.",
            "",
            "```bash",
            f"csgnn classify chair.off --weights {name}",
            "```",
            "",
            facts,
            "",
            "## What it is worth",
            "",
            "All numbers are those of the weights in the file, rounded to float16, without voting.",
            "",
            numbers,
            "",
            f"Of randomly turned copies of {measured.consistency.num_clouds} test shapes, "
            f"{measured.consistency.share:.1%} get the answer of the shape as it is.",
            "",
            "## Class by class",
            "",
            f"Test shapes, {TURNED[last.rotation]}.",
            "",
            _classes(last, made.class_names),
            "",
            "## Whether its probabilities can be believed",
            "",
            f"The logits are divided by {measured.temperature:.3f}, which was fitted on the validation shapes. "
            "Expected calibration error (15 bins):",
            "",
            errors,
            "",
            f"![How often the answers are right that are given with some confidence]({name}.png)",
            "",
            "## What it cannot do",
            "",
            *(f"- {limit}" for limit in limits),
            "",
            "## How it was made",
            "",
            f"`python -m pipelines.modelnet fit --config {name}.yaml` with `{name}.yaml`:",
            "",
            "```yaml",
            options,
            "```",
            "",
            "and then",
            "",
            "```bash",
            shlex.join(command),
            "```",
            "",
        ]
    )


def _is_parameter(key: str) -> bool:
    return not key.rsplit(".", 1)[-1].startswith(("running_", "num_batches"))


def _told_limits(made: Published) -> list[str]:
    test, strange = made.measured.outside
    told = [
        "A note says where a shape is unlike the training shapes: farther from its three nearest ones, as the network "
        f"sees them, than 95 % of the validation shapes. So are {test:.1%} of the test shapes, and {strange:.0%} "
        "of 100 clouds that are no objects (noise, spheres, planes, rods, helices, ...). No note is no promise."
    ]
    rotation = made.checkpoint["csgnn"]["training"]["train_rotation"]
    if rotation != "SO3":
        told.append(f"It was trained on shapes {TURNED[rotation]}: others have to stand upright, z up.")
    return told


def _classes(score: Score, class_names: Sequence[str]) -> str:
    """Return how many shapes of each class are right, and what the others are taken for most often."""
    rows = []
    for label, (name, counts) in enumerate(zip(class_names, score.confusion, strict=True)):
        total = sum(counts)
        wrong = np.array(counts)
        wrong[label] = 0
        most = f"{class_names[int(wrong.argmax())]} ({wrong.max()})" if wrong.any() else "–"
        rows.append([name, str(total), f"{counts[label] / total:.1%}" if total else "–", most])
    return markdown_table(["class", "shapes", "right", "most often taken for"], rows)


def reliability_figure(before: Reliability, after: Reliability) -> Figure:
    """Draw how often answers are right over the confidence they are given with, and how many there are."""
    figure, panels = new_figure(7.6, 3.6, columns=2)
    width = 1 / len(before.counts)
    places = (np.arange(len(before.counts)) + 0.5) * width
    for axes, found, title in zip(panels, (before, after), ("without temperature", "with temperature"), strict=True):
        filled = found.counts > 0
        axes.bar(places[filled], found.accuracy[filled], width * 0.9, color="#0b6e99")
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
        for place, count in zip(places[filled], found.counts[filled], strict=True):
            axes.text(place, 1.02, str(count), ha="center", va="bottom", fontsize=7, rotation=90)
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1.15),
            xlabel="confidence (above: number of answers)",
            ylabel="share that is right",
        )
        axes.set_title(f"{title}: error {found.error:.3f}", fontsize=10)
    return figure
