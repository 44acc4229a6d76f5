"""Figures of a training, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 20.0
"""Positive values that span more than this factor are drawn on a logarithmic axis."""


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of this size, in inches, and its panels row by row; matplotlib is imported only here."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def history_figure(history: Sequence[Mapping[str, float]], panels: Mapping[str, str]) -> Figure:
    """Draw what was measured over the epochs, one panel for each quantity, training and validation together.

    Parameters
    ----------
    history
        One mapping per epoch from the names that were logged to their values.
    panels
        Titles of what is drawn, by names without ``train/`` and ``validation/``; the learning rate is drawn too.
    """
    epochs = [entry["epoch"] + 1 for entry in history]
    titles = {**panels, "learning_rate": "learning rate"}
    figure, every = new_figure(4.0 * len(titles), 3.2, columns=len(titles))
    for axes, (key, title) in zip(every, titles.items(), strict=True):
        shown: list[float] = []
        for label, name in (("", key), ("train", f"train/{key}"), ("validation", f"validation/{key}")):
            if any(name in entry for entry in history):
                values = [entry.get(name, float("nan")) for entry in history]
                axes.plot(epochs, values, marker=".", label=label or key)
                shown += values
        axes.set_xlabel("epoch")
        axes.set_title(title)
        if key == "learning_rate" or (shown and min(shown) > 0 and max(shown) > WIDE * min(shown)):
            axes.set_yscale("log")
        if key != "learning_rate" and shown:
            axes.legend()
        axes.grid(alpha=0.3)
    return figure
