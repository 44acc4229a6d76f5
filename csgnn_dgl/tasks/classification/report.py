"""Test results of classifiers as tables and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError
from csgnn_dgl.symmetry import SO3Error
from csgnn_dgl.tasks.classification.evaluation import Score, measure_consistency, measure_so3_error
from csgnn_dgl.tasks.classification.figures import confusion_figure, so3_error_figure
from csgnn_dgl.tasks.classification.module import ClassificationModule
from csgnn_dgl.training.report import Section, markdown_table

PREDICTIONS = "predictions.npz"
"""File of the class that each test shape was given: ``predicted`` (lines of the table, shapes), and the ``labels``."""

LEGEND = (
    "Accuracy is the share of all shapes, class mean the mean over the classes of the share of their shapes. "
    "Votes: mean of the softmax outputs over that many rotated copies of each shape (test-time augmentation)."
)


def report(tested: Mapping[str, ClassificationModule]) -> Section:
    """Return what tested modules are worth, by the names of their models.

    Raises
    ------
    InputError
        If they were not tested on the same data.
    """
    (first, one), *others = tested.items()
    for name, module in others:
        if (module.data.source, module.class_names) != (one.data.source, one.class_names):
            raise InputError(
                f"{name} was tested on {module.data.source} and {first} on {one.data.source}; compare runs on the same "
                "data"
            )
    scores = [(name, score) for name, module in tested.items() for score in module.scores]
    return Section(
        table=results_table(scores),
        values=[{"name": name, **_values(score)} for name, score in scores],
        legend=LEGEND,
        figures={
            "confusion.png": ("Confusion matrices", confusion_figure([item for _, item in scores], one.class_names))
        },
        arrays={PREDICTIONS: _predictions(tested)},
    )


def _values(score: Score) -> dict[str, Any]:
    values = dataclasses.asdict(score)
    del values["predicted"]  # in `PREDICTIONS`
    return values


def _predictions(tested: Mapping[str, ClassificationModule]) -> dict[str, NDArray[Any]]:
    """Return which class was given to each shape, for each line of the table, and what would have been right."""
    scores = [(name, score) for name, module in tested.items() for score in module.scores]
    labels = next(iter(tested.values())).labels
    return {
        "model": np.array([name for name, _ in scores]),
        "rotation": np.array([score.rotation for _, score in scores]),
        "votes": np.array([score.votes for _, score in scores]),
        "predicted": np.stack([score.predicted for _, score in scores]),
        "labels": labels,
    }


def consistency_report(module: ClassificationModule) -> Section:
    """Measure how often the answer for 200 test shapes survives 10 random rotations."""
    found = measure_consistency(module.network, module.data.test_clouds, module.trainer.strategy.root_device)
    return Section(
        title="Consistency under rotation",
        table=markdown_table(
            ("shapes", "copies of each", "same answer"),
            [(str(found.num_clouds), str(found.copies), f"{100 * found.share:.1f} %")],
        ),
        legend="Share of the randomly rotated copies of test shapes that got the answer of the unrotated shape.",
        values=dataclasses.asdict(found),
    )


def so3_error_report(module: ClassificationModule) -> Section:
    """Measure how much the logits for 200 test shapes change under rotations by up to 180°."""
    error = measure_so3_error(module.network, module.data.test_clouds, module.trainer.strategy.root_device)
    return Section(
        title="Error under rotation",
        table=so3_error_table(error),
        legend=(
            f"Over {error.num_clouds} test shapes and random axes: mean of ‖f(Rx) - f(x)‖ / ‖f(x)‖ of the logits f, "
            "and the share of predictions that differ from that of the unrotated shape."
        ),
        values=dataclasses.asdict(error),
        figures={"so3_error.png": ("Error over angle", so3_error_figure(error))},
    )


def results_table(scores: Sequence[tuple[str, Score]]) -> str:
    """Return scores with the names of their models as a table, without the names where there is one model."""
    head = ("model", "test rotation", "votes", "shapes", "accuracy", "95 % interval", "class mean")
    rows = [
        (
            name,
            score.rotation,
            str(score.votes) if score.votes > 1 else "none",
            str(score.num_shapes),
            f"{100 * score.accuracy:.1f} %",
            f"{100 * score.interval[0]:.1f} to {100 * score.interval[1]:.1f} %",
            f"{100 * score.class_mean_accuracy:.1f} %",
        )
        for name, score in scores
    ]
    first = 1 if len({name for name, _ in scores}) == 1 else 0
    return markdown_table(head[first:], [row[first:] for row in rows])


def so3_error_table(error: SO3Error) -> str:
    """Return the error over the angle as a table."""
    rows = [
        (f"{angle:.0f}°", f"{relative:.4f}", f"{100 * changed:.1f} %")
        for angle, relative, changed in zip(error.angles, error.relative_error, error.changed, strict=True)
    ]
    return markdown_table(("angle", "relative error", "class changes"), rows)
