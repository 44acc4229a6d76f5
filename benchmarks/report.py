"""Results as Markdown tables that also read well in a terminal, and as figures, drawn without a display."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csgnn_dgl.training.report import markdown_table

PAPER_GROWTH = {"training": 4.0, "inference": 3.0}
"""Table 4 of the paper: time at 32 spheres over time at one."""


def number(value: float | None) -> str:
    """Write a number with three digits, or a dash for None."""
    if value is None:
        return "-"
    whole = f"{value:.3g}"
    return f"{value:.0f}" if "e" in whole else whole


def percent(value: float | None) -> str:
    """Write a share."""
    return "-" if value is None else f"{100 * value:.0f} %"


def milliseconds(found: Mapping[str, Any]) -> list[str]:
    """Write a median and quartiles in milliseconds."""
    median, *ends = (number(1e3 * found[key]) for key in ("median", "lower_quartile", "upper_quartile"))
    return [median, " to ".join(ends)]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of texts and numbers."""
    return markdown_table(head, [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows])


def seconds_table(head: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return medians and quartiles in milliseconds."""
    return table((head, "median, ms", "quartiles"), [(name, *milliseconds(found)) for name, found in values.items()])


def speed_table(result: Mapping[str, Any]) -> str:
    """Return time per sample, speedup over the composition and share of the roofline of each contender."""
    head, rows = ["contender"], {name: [name] for name in result["seconds_per_sample"]}
    for mode in ("training", "inference"):
        head += [f"{mode}, ms", "quartiles", *(["times as fast"] if result["opponent"] else []), "of the roofline"]
        for name, found in result["seconds_per_sample"].items():
            rows[name] += milliseconds(found[mode])
            if result["opponent"]:
                rows[name].append(number(result["speedups"][name][mode]))
            rows[name].append(percent(result["share_of_roofline"].get(name, {}).get(mode)))
    return table(head, rows.values())


def roofline_table(height: Mapping[str, Any]) -> str:
    """Return the roofline of one mode, layer by layer."""
    head = ("layer", "products, ms", "GFLOP/s", "traffic, ms", "MB", "GB/s of a copy", "together, ms")
    scales = {"products": 1e3, "gflops_per_second": 1, "traffic": 1e3, "bytes": 1e-6}
    scales |= {"copy_gb_per_second": 1, "seconds": 1e3}
    rows = [
        [row["layer"], *(None if row[key] is None else scale * row[key] for key, scale in scales.items())]
        for row in height["layers"]
    ]
    total = [1e3 * height[part] for part in ("products", "traffic", "seconds")]
    return table(head, [*rows, ("all", total[0], "", total[1], "", "", total[2])])


def pieces_table(result: Mapping[str, Any]) -> str:
    """Return the time of each layer in each form, and that of the first over the others'."""
    first, *others = result["contenders"]
    rows: list[list[Any]] = []
    for piece, times in result["seconds"].items():
        for mode, found in times[first].items():
            ratios = (found["median"] / times[name][mode]["median"] if name in times else None for name in others)
            rows.append([piece, mode, 1e3 * found["median"], *ratios])
    return table(["layer", "of", f"{first}, ms", *(f"{name}, times as fast as {first}" for name in others)], rows)


def growth_table(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    """Return time per sample and per multiply-accumulate over sizes that differ in `what`."""
    head = [what, "kMAC per grid point"]
    lines = [[row["size"][what], 1e-3 * row["macs_per_grid_point"]] for row in rows]
    for mode in PAPER_GROWTH:
        head += [f"{mode}, ms", "ps per MAC", "growth"]
        medians = [row["seconds_per_sample"][mode]["median"] for row in rows]
        for line, row, median in zip(lines, rows, medians, strict=True):
            line += [1e3 * median, 1e12 * row["seconds_per_mac"][mode], median / medians[0]]
    return table(head, lines)


def draw_speed(sizes: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the time per sample of each contender, a row per size, a column per mode; a line marks each roofline."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 2.6 * len(sizes)), layout="constrained")
    for row, (size, result) in zip(figure.subplots(len(sizes), 2, squeeze=False), sizes.items(), strict=True):
        for axes, mode in zip(row, ("training", "inference"), strict=True):
            found = {name: times[mode] for name, times in result["seconds_per_sample"].items()}
            medians, *ends = (
                [1e3 * value[key] for value in found.values()] for key in ("median", "lower_quartile", "upper_quartile")
            )
            bars = axes.barh(list(found), medians, color="tab:blue", alpha=0.7)
            axes.bar_label(bars, labels=[number(value) for value in medians], padding=2, fontsize=8)
            axes.hlines(range(len(found)), *ends, color="black", linewidth=1)
            for line, (dtype, heights) in zip(("--", ":"), result["roofline"].items(), strict=False):
                height = 1e3 * heights[mode]["seconds"]
                axes.axvline(height, color="tab:red", linestyle=line, label=f"roofline, {dtype}")
            if result["roofline"]:
                axes.legend(fontsize=7)
            axes.set(title=f"{size}: {mode}", xlabel="ms per sample")
            axes.margins(x=0.15)
            axes.invert_yaxis()
    figure.savefig(path, dpi=110)


def draw_growth(spheres: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw how time grows with the number of spheres beside the paper, and time per multiply-accumulate of all rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.4), layout="constrained")
    grows, *others = figure.subplots(1, 3)
    counts = [row["size"]["num_spheres"] for row in spheres]
    for colour, (mode, factor) in zip(("tab:blue", "tab:orange"), PAPER_GROWTH.items(), strict=True):
        times = [row["seconds_per_sample"][mode]["median"] for row in spheres]
        grows.plot(counts, [value / times[0] for value in times], ".-", color=colour, label=mode)
        grows.plot([1, 32], [1.0, factor], ":", color=colour, label=f"{mode}, paper (1 and 32 spheres)")
        for axes, rows, key in zip(others, (spheres, levels), ("num_spheres", "level"), strict=True):
            values = [1e12 * row["seconds_per_mac"][mode] for row in rows]
            axes.plot([row["size"][key] for row in rows], values, ".-", color=colour, label=mode)
            axes.set(title="ps per multiply-accumulate", xlabel=key)
    grows.set(title="time over that of the first", xlabel="num_spheres")
    for axes in (grows, *others):
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)
