"""What a classifier says of shapes as text, tables and plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from csgnn_dgl.tasks.classification.prediction import TOP, ShapePrediction
from csgnn_dgl.training.report import markdown_table

LONGEST = 60
"""Most letters of a name in a table."""


def shown(name: str) -> str:
    """Return a name of any letters as it can stand in a line of a table."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(name.split())).replace("|", "/")
    return text if len(text) <= LONGEST else f"...{text[3 - LONGEST :]}"


def answers_table(predictions: Sequence[ShapePrediction]) -> str:
    """Return one line for each shape.

    The deviation is above 1 where a shape is unlike the training shapes.
    """
    head = ["shape", "answer", "probability", "next"]
    with_deviation = any(found.deviation is not None for found in predictions)
    with_rotations = any(found.rotated is not None for found in predictions)
    head += ["deviation"] * with_deviation + ["rotated"] * with_rotations
    rows = []
    for found in predictions:
        after = ", ".join(f"{shown(label)} {share:.1%}" for label, share in found.top(3)[1:])
        row = [shown(found.name), shown(found.label), f"{found.probability:.1%}", after]
        if with_deviation:
            row.append("unknown" if found.deviation is None else f"{found.deviation:.2f}{' !' * found.is_outside}")
        if found.rotated is not None:
            row.append(f"{found.rotated.answers.get(found.label, 0)} of {found.rotated.count}")
        rows.append(row)
    return markdown_table(head, rows)


def answer_text(found: ShapePrediction) -> str:
    """Return all that is said of one shape."""
    rows = [(shown(label), f"{share:.1%}") for label, share in found.top(TOP)]
    lines = [f"{shown(found.name)}: {shown(found.label)}", "", markdown_table(("class", "probability"), rows)]
    if found.deviation is not None:
        meaning = "unlike the training shapes, the answer is to be doubted" if found.is_outside else "up to 1 is usual"
        lines += ["", f"deviation from the training shapes: {found.deviation:.2f} ({meaning})"]
    if found.nearest:
        near = ", ".join(shown(neighbour.name) for neighbour in found.nearest)
        lines.append(f"nearest training shapes: {near}")
    if found.rotated is not None:
        answers = ", ".join(f"{shown(label)} {count}" for label, count in found.rotated.answers.items())
        lines.append(
            f"under {found.rotated.count} random rotations: {answers}; "
            f"{shown(found.label)} has at least {found.rotated.lowest:.1%}"
        )
    return "\n".join(lines)


def answers_json(weights: str, predictions: Sequence[ShapePrediction], failures: Mapping[str, str]) -> str:
    """Return all that is said of shapes as JSON.

    It has ``weights``, as they were named, ``shapes`` (see `answer_values`), and ``failures``: what is wrong with files
    that could not be used, by their names.
    """
    shapes = [answer_values(found) for found in predictions]
    return json.dumps({"weights": weights, "shapes": shapes, "failures": dict(failures)}, indent=1)


def answer_values(found: ShapePrediction) -> dict[str, Any]:
    """Return all that is said of one shape as plain values."""
    values: dict[str, Any] = {
        "name": found.name,
        "source": found.source,
        "answer": found.label,
        "probability": found.probability,
        "top": [{"class": label, "probability": share} for label, share in found.top(TOP)],
        "deviation": found.deviation,
        "unlike_training": None if found.deviation is None else found.is_outside,
        "nearest": [{"name": near.name, "class": near.label, "distance": near.distance} for near in found.nearest],
    }
    if found.rotated is not None:
        turned = found.rotated
        values["rotated"] = {"count": turned.count, "answers": turned.answers, "lowest": turned.lowest}
    return values
