"""Figures of a test of parts, drawn without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.data import PartClouds
from csgnn_dgl.data.clouds.transform import CloudTransform

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Colours of the parts of a shape, told apart by the colour-blind too."""

WRONG = "#d40000"
SHOWN = 6
"""Shapes in a figure."""


def parts_figure(clouds: PartClouds, predicted: Tensor, items: Tensor) -> Figure:
    """Draw a shape of each of some classes: its parts, those that were found, and the points that got another.

    Parameters
    ----------
    clouds
        The shapes.
    predicted
        (items, N) int64 parts that the points were given.
    items
        (items,) int64 places of these shapes in `clouds`.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    labels = clouds.labels[items.numpy()]
    classes = np.unique(labels)
    chosen = classes[np.linspace(0, len(classes) - 1, min(SHOWN, len(classes))).round().astype(int)]
    figure = Figure(figsize=(2.6 * len(chosen), 8.2), layout="constrained")
    titles = ("true", "found", "points with another part")
    for column, label in enumerate(chosen):
        row = int(np.flatnonzero(labels == label)[0])
        place = int(items[row])
        points = CloudTransform()(torch.from_numpy(clouds.points[place : place + 1]))[0].numpy()
        own = np.flatnonzero(clouds.part_classes == label)
        true, found = clouds.parts[place], predicted[row].numpy()
        palette = np.array(COLOURS)
        wrong = np.where(true == found, "#d0d0d0", WRONG)
        share = float((true == found).mean())
        shown = (palette[(true - own[0]) % len(palette)], palette[(found - own[0]) % len(palette)], wrong)
        for line, (title, colours) in enumerate(zip(titles, shown, strict=True)):
            axes = figure.add_subplot(3, len(chosen), 1 + line * len(chosen) + column, projection="3d")
            _scatter(axes, points, colours, emphasised=line == 2)
            head = clouds.class_names[label] if line == 0 else f"{100 * share:.0f} % right" if line == 2 else ""
            axes.set_title(head, fontsize=11)
            if column == 0:
                axes.text2D(-0.05, 0.5, title, transform=axes.transAxes, rotation=90, va="center", fontsize=11)
            if line == 0:
                names = [clouds.part_names[part] for part in own]
                marks = [
                    Line2D([], [], marker="o", linestyle="", markersize=5, color=COLOURS[index % len(COLOURS)])
                    for index in range(len(own))
                ]
                axes.legend(marks, names, loc="upper center", bbox_to_anchor=(0.5, 0.04), ncols=2, fontsize=8)
    return figure


def _scatter(axes: object, points: NDArray[np.float32], colours: NDArray[np.str_], emphasised: bool) -> None:
    """Draw a cloud seen from the front, upright; with emphasis, the red points last and larger."""
    from mpl_toolkits.mplot3d.axes3d import Axes3D

    assert isinstance(axes, Axes3D)
    sizes = np.where(colours == WRONG, 12, 3) if emphasised else 5
    axes.scatter(points[:, 0], points[:, 1], points[:, 2], c=colours, s=sizes, depthshade=False, linewidths=0)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, (high - low).max() / 2
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_zlim(middle[2] - half, middle[2] + half)
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    axes.view_init(elev=18, azim=-60)
    axes.set_axis_off()
