"""Test results as a table, as JSON and as a figure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.base import FORMAT, plain
from csgnn_dgl.symmetry import SO3Error
from csgnn_dgl.tasks.classification.evaluation import Score
from csgnn_dgl.tasks.classification.figures import draw_confusion, draw_so3_error
from csgnn_dgl.training.report import markdown_table


def results_table(scores: Sequence[Score]) -> str:
    """Return the scores as a Markdown table that also reads well in a terminal."""
    head = ("test rotation", "votes", "shapes", "accuracy", "95 % interval", "class mean")
    rows = [
        (
            result.rotation,
            str(result.votes) if result.votes > 1 else "none",
            str(result.num_shapes),
            f"{100 * result.accuracy:.1f} %",
            f"{100 * result.interval[0]:.1f} to {100 * result.interval[1]:.1f} %",
            f"{100 * result.class_mean_accuracy:.1f} %",
        )
        for result in scores
    ]
    return markdown_table(head, rows)


def so3_error_table(error: SO3Error) -> str:
    """Return the error over the angle as a Markdown table that also reads well in a terminal."""
    rows = [
        (f"{angle:.0f}°", f"{relative:.4f}", f"{100 * changed:.1f} %")
        for angle, relative, changed in zip(error.angles, error.relative_error, error.changed, strict=True)
    ]
    return markdown_table(("angle", "relative error", "class changes"), rows)


def write_results(
    folder: Path,
    scores: Sequence[Score],
    class_names: Sequence[str],
    facts: Mapping[str, Any],
    so3_error: SO3Error | None = None,
) -> Path:
    """Write ``results.json``, ``results.md``, ``confusion.png`` and perhaps ``so3_error.png`` into a folder.

    Parameters
    ----------
    folder
        Where to write; made if missing.
    scores
        What `csgnn_dgl.tasks.classification.evaluation.score_views` returned.
    class_names
        Names of the classes in the order of their labels.
    facts
        How the results came about (checkpoint, data source, validation protocol, seeds, ...): plain values, which are
        listed under the table and stored under ``"facts"``.
    so3_error
        Error under rotation over the angle, where it was measured.

    Returns
    -------
    Path
        The JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "confusion.png") as file:
        draw_confusion(scores, class_names, file)
    lines = ["# Test results", "", results_table(scores), ""]
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in plain(facts).items()]
    lines += [
        "",
        "Accuracy is the share of all shapes, class mean the mean over the classes of the share of their shapes.",
    ]
    lines += ["Votes: mean of the softmax outputs over that many rotated copies of each shape."]
    lines += ["", "![Confusion matrices](confusion.png)", ""]
    if so3_error is not None:
        with atomic_write(folder / "so3_error.png") as file:
            draw_so3_error(so3_error, file)
        lines += ["## Error under rotation", "", so3_error_table(so3_error), ""]
        lines += [
            f"Over {so3_error.num_clouds} test shapes and random axes: mean of ‖f(Rx) - f(x)‖ / ‖f(x)‖ of the logits "
            "f, and the share of predictions that differ from that of the unrotated shape.",
            "",
            "![Error over angle](so3_error.png)",
            "",
        ]
    with atomic_write(folder / "results.md") as file:
        file.write_text("\n".join(lines), encoding="utf-8")
    document = {
        "format": FORMAT,
        "facts": plain(facts),
        "class_names": list(class_names),
        "results": [result.as_dict() for result in scores],
    }
    if so3_error is not None:
        document["so3_error"] = plain(dataclasses.asdict(so3_error))
    target = folder / "results.json"
    with atomic_write(target) as file:
        file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return target
