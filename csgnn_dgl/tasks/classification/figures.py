"""Figures of a classification test, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from csgnn_dgl.symmetry import SO3Error
from csgnn_dgl.tasks.classification.evaluation import Score
from csgnn_dgl.training.figures import new_figure
from csgnn_dgl.training.lettering import label
from csgnn_dgl.viz import draw_so3_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(scores: Sequence[Score], class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix of each score, rows (true classes) summing to 1."""
    side = max(4.0, 0.22 * len(class_names) + 2.0)
    figure, panels = new_figure(side * len(scores), side, columns=len(scores))
    for axes, result in zip(panels, scores, strict=True):
        counts = np.asarray(result.confusion, dtype=float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        image = axes.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
        names = [label(name) for name in class_names]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        votes = f", {result.votes} votes" if result.votes > 1 else ""
        axes.set_title(f"{result.rotation}{votes}: {100 * result.accuracy:.1f} % of {result.num_shapes}", fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def so3_error_figure(error: SO3Error) -> Figure:
    """Draw the relative error of the outputs and the share of changed classes over the angle."""
    figure, panels = new_figure(8.0, 3.2, columns=2)
    draw_so3_error(error, panels[0], "relative_error")
    draw_so3_error(error, panels[1], "changed")
    return figure
