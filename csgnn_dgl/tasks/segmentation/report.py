"""Test results of models of parts as tables and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.segmentation.evaluation import measure_consistency
from csgnn_dgl.tasks.segmentation.figures import parts_figure
from csgnn_dgl.tasks.segmentation.module import PartModule
from csgnn_dgl.training.report import Section, markdown_table

LEGEND = (
    "Accuracy is the share of all points. Mean IoU is the mean over the shapes of their intersection over union, which "
    "is that over the parts of the shape's class (1 for a part that is neither there nor found); class mean IoU is the "
    "mean over the classes of the mean over their shapes. The class of a shape is known."
)


def report(tested: Mapping[str, PartModule]) -> Section:
    """Return what tested modules are worth, by the names of their models.

    Raises
    ------
    InputError
        If they were not tested on the same clouds.
    """
    (first, one), *others = tested.items()
    for name, module in others:
        if module.data.num_points != one.data.num_points:
            raise InputError(
                f"{name} was tested on {module.data.num_points} points per shape and {first} on {one.data.num_points}; "
                "compare runs on the same data"
            )
    scores = [(name, score) for name, module in tested.items() for score in module.scores]
    head = ("model", "test rotation", "shapes", "accuracy", "mean IoU", "class mean IoU")
    rows = [
        (
            name,
            score.rotation,
            str(score.num_shapes),
            f"{100 * score.accuracy:.1f} %",
            f"{100 * score.iou:.1f} %",
            f"{100 * score.class_iou:.1f} %",
        )
        for name, score in scores
    ]
    skip = 1 if len(tested) == 1 else 0
    columns = [f"{name}, {score.rotation}" if len(tested) > 1 else score.rotation for name, score in scores]
    lines = [(name, *(f"{100 * score.by_class[name]:.1f} %" for _, score in scores)) for name in scores[0][1].by_class]
    tables = (
        markdown_table(head[skip:], [row[skip:] for row in rows]),
        markdown_table(("mean IoU by class", *columns), lines),
    )
    figure = parts_figure(one.clouds, one.predicted[0], one.items)
    caption = f"Parts of test shapes, turned by {scores[0][1].rotation}: true, found, and points that got another"
    return Section(
        table="\n\n".join(tables),
        values=[{"name": name, **dataclasses.asdict(score)} for name, score in scores],
        legend=LEGEND,
        figures={"parts.png": (caption, figure)},
    )


def consistency_report(module: PartModule) -> Section:
    """Measure how often the parts of the points of 100 test shapes survive 10 random rotations."""
    device = module.trainer.strategy.root_device
    found = measure_consistency(module.network, module.data.test_clouds, module.allowed, device)
    return Section(
        title="Consistency under rotation",
        table=markdown_table(
            ("shapes", "copies of each", "same part"),
            [(str(found.num_clouds), str(found.copies), f"{100 * found.share:.1f} %")],
        ),
        legend="Share of the points of randomly rotated copies that were given the part that they have unrotated.",
        values=dataclasses.asdict(found),
    )
