"""The figure of a comparison, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from csgnn_dgl.training.figures import new_figure
from csgnn_dgl.training.lettering import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4c72b0", "#dd8452", "#55a868")


def comparison_figure(rows: Sequence[Any], columns: Sequence[str], rotations: Sequence[str]) -> Figure:
    """Draw the accuracies of each row with their intervals, and how often its answers survive a rotation.

    Parameters
    ----------
    rows
        Rows of a `csgnn_dgl.tasks.classification.comparison.Comparison`.
    columns
        Names of the accuracies.
    rotations
        Rotations of training whose consistency is shown.
    """
    figure, (left, right) = new_figure(11.0, 1.4 + 0.5 * len(rows), columns=2)
    for number, (name, colour) in enumerate(zip(columns, COLOURS, strict=True)):
        shift = 0.22 * (number - 1)
        places = [place + shift for place, row in enumerate(rows) if name in row.accuracies]
        found = [row.accuracies[name] for row in rows if name in row.accuracies]
        means = [100 * item.mean for item in found]
        spans = [
            [100 * max(item.mean - item.interval[0], 0.0) for item in found],
            [100 * max(item.interval[1] - item.mean, 0.0) for item in found],
        ]
        if found:
            left.errorbar(means, places, xerr=spans, fmt="o", color=colour, capsize=2, markersize=5, label=name)
    for number, (name, colour) in enumerate(zip(rotations, COLOURS[1:], strict=False)):
        shift = 0.4 * (number - 0.5)
        places = [place + shift for place, row in enumerate(rows) if name in row.consistency]
        shares = [100 * row.consistency[name] for row in rows if name in row.consistency]
        if shares:
            right.barh(places, shares, height=0.36, color=colour, label=f"trained under {name}")
    left.set_xlabel("accuracy (%), trained / tested under, 95 % interval")
    right.set_xlabel("same answer after a random rotation (%)")
    right.set_xlim(0, 100)
    for axes, labelled in ((left, True), (right, False)):
        axes.set_yticks(range(len(rows)), [label(row.name) for row in rows] if labelled else [""] * len(rows))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return figure
