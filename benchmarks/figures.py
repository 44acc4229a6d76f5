"""Figures of the measurements, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.roof import Mode
from benchmarks.sizes import Size
from benchmarks.tables import number


def draw_speed(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the time per sample of each contender, one row per size and one column per mode; a line marks each roof."""
    from matplotlib.figure import Figure

    modes = list(next(iter(next(iter(results.values()))["seconds_per_sample"].values())))
    figure = Figure(figsize=(5.0 * len(modes), 2.6 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), len(modes), squeeze=False)
    for row, (size, result) in zip(panels, results.items(), strict=True):
        for axes, mode in zip(row, modes, strict=True):
            found = {name: times[mode] for name, times in result["seconds_per_sample"].items()}
            _bars(axes, {name: 1e3 * value["median"] for name, value in found.items()})
            for position, value in enumerate(found.values()):
                ends = [1e3 * value["lower_quartile"], 1e3 * value["upper_quartile"]]
                axes.plot(ends, [position, position], color="black", linewidth=1)
            for line, (dtype, roof) in zip(("--", ":"), result["roof"].items(), strict=False):
                height = 1e3 * roof[mode]["seconds"]
                axes.axvline(height, color="tab:red", linestyle=line, label=f"roof, {dtype}")
            if result["roof"]:
                axes.legend(fontsize=7)
            axes.set_title(f"{size}: {mode}")
            axes.set_xlabel(f"ms per {Size(**result['size']).sample}")
    figure.savefig(path, dpi=110)


def draw_bars(panels: Sequence[tuple[str, str, Mapping[str, float]]], path: Path) -> None:
    """Draw panels (title, unit, values) of horizontal bars beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(panels), 2.8), layout="constrained")
    for axes, (title, unit, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _bars(axes, values)
        axes.set_title(title)
        axes.set_xlabel(unit)
    figure.savefig(path, dpi=110)


def _bars(axes: Any, values: Mapping[str, float]) -> None:
    bars = axes.barh(list(values), list(values.values()), color="tab:blue", alpha=0.7)
    axes.bar_label(bars, labels=[number(value) for value in values.values()], padding=2, fontsize=8)
    axes.margins(x=0.15)
    axes.invert_yaxis()


def draw_growth(
    spheres: Sequence[Mapping[str, Any]],
    levels: Sequence[Mapping[str, Any]],
    paper: Mapping[Mode, float],
    path: Path,
) -> None:
    """Draw how time grows with the number of spheres beside the paper, and time per multiply-accumulate of all rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.4), layout="constrained")
    grows, by_spheres, by_level = figure.subplots(1, 3)
    counts = [row["size"]["num_spheres"] for row in spheres]
    for colour, (mode, factor) in zip(("tab:blue", "tab:orange"), paper.items(), strict=True):
        times = [row["seconds_per_sample"][mode]["median"] for row in spheres]
        grows.plot(counts, [value / times[0] for value in times], marker=".", color=colour, label=mode)
        ends = [counts[0], counts[-1]]
        grows.plot(ends, [1.0, factor], linestyle=":", color=colour, label=f"{mode}, paper (1 and 32 spheres)")
        for axes, rows, key in ((by_spheres, spheres, "num_spheres"), (by_level, levels, "level")):
            values = [1e12 * row["seconds_per_mac"][mode] for row in rows]
            axes.plot([row["size"][key] for row in rows], values, marker=".", color=colour, label=mode)
    for axes, title, label in (
        (grows, "time over that of the first", "spheres"),
        (by_spheres, "ps per multiply-accumulate", "spheres"),
        (by_level, "ps per multiply-accumulate", "level"),
    ):
        axes.set_title(title)
        axes.set_xlabel(label)
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    by_level.set_xticks([row["size"]["level"] for row in levels])
    figure.savefig(path, dpi=110)
