"""Figures of a run, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

PANELS = (
    ("loss", "loss"),
    ("accuracy", "accuracy"),
    ("error of the band energy (eV/atom)", "band_energy_mae"),
    ("error of the Fermi level (eV)", "fermi_level_mae"),
    ("learning rate", "learning_rate"),
)
"""Title and logged name of each panel of a training curve."""

WIDE = 20.0
"""Positive values that span more than this factor are drawn on a logarithmic axis."""


def draw_history(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw what was measured of `PANELS` over the epochs into a PNG file.

    Parameters
    ----------
    history
        One mapping per epoch from the names that were logged to their values.
    path
        File to write.
    """
    from matplotlib.figure import Figure

    epochs = [entry["epoch"] + 1 for entry in history]
    panels = [
        panel for panel in PANELS if any(_values(history, panel[1], stage) for stage in (None, "train", "validation"))
    ]
    figure = Figure(figsize=(4.0 * len(panels), 3.2), layout="constrained")
    for axes, (title, key) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        shown: list[float] = []
        for stage in (None, "train", "validation"):
            values = _values(history, key, stage)
            if values:
                axes.plot(epochs, values, marker=".", label=stage or key)
                shown += values
        axes.set_xlabel("epoch")
        axes.set_title(title)
        if key == "learning_rate" or (min(shown) > 0 and max(shown) > WIDE * min(shown)):
            axes.set_yscale("log")
        if key != "learning_rate":
            axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _values(history: Sequence[Mapping[str, float]], key: str, stage: str | None) -> list[float]:
    name = key if stage is None else f"{stage}/{key}"
    if not any(name in entry for entry in history):
        return []
    return [entry.get(name, float("nan")) for entry in history]
