"""Results as Markdown tables that also read well in a terminal, and as figures, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csgnn_dgl.training.report import markdown_table


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many digits, or a dash for None."""
    if value is None:
        return "-"
    whole = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in whole else whole


def percent(value: float | None) -> str:
    """Write a share."""
    return "-" if value is None else f"{100 * value:.0f} %"


def milliseconds(found: Mapping[str, Any]) -> list[str]:
    """Write a median and quartiles in milliseconds."""
    return [
        number(1e3 * found["median"]),
        f"{number(1e3 * found['lower_quartile'])} to {number(1e3 * found['upper_quartile'])}",
    ]


def speed_table(result: Mapping[str, Any]) -> str:
    """Return time per sample, speedup over the composition and share of the roofline of each contender."""
    times = result["seconds_per_sample"]
    modes = list(next(iter(times.values())))
    head = ["contender"]
    for mode in modes:
        head += [f"{mode}, ms", "quartiles"] + (["times as fast"] if result["opponent"] else []) + ["of the roofline"]
    rows = []
    for name, of_name in times.items():
        row = [name]
        for mode in modes:
            row += milliseconds(of_name[mode])
            if result["opponent"]:
                row.append(number(result["speedups"].get(name, {}).get(mode, 1.0)))
            row.append(percent(result["share_of_roofline"].get(name, {}).get(mode)))
        rows.append(row)
    return markdown_table(head, rows)


def roofline_table(height: Mapping[str, Any]) -> str:
    """Return the roofline of one mode, layer by layer."""
    head = ("layer", "products, ms", "GFLOP/s", "traffic, ms", "MB", "GB/s of a copy", "together, ms")
    rows = [
        (
            row["layer"],
            number(1e3 * row["products"]),
            number(row["gflops_per_second"]),
            number(1e3 * row["traffic"]),
            number(1e-6 * row["bytes"]),
            number(row["copy_gb_per_second"]),
            number(1e3 * row["seconds"]),
        )
        for row in height["layers"]
    ]
    total = [number(1e3 * height[part]) for part in ("products", "traffic", "seconds")]
    return markdown_table(head, [*rows, ("all", total[0], "", total[1], "", "", total[2])])


def pieces_table(result: Mapping[str, Any]) -> str:
    """Return the time of each layer in each form, and that of the first over the others'."""
    first, *others = result["contenders"]
    head = ["layer", "of", first + ", ms", *(f"{name}, times as fast as {first}" for name in others)]
    rows = []
    for piece, times in result["seconds"].items():
        for mode, found in times[first].items():
            ratios = [found["median"] / times[name][mode]["median"] if name in times else None for name in others]
            rows.append([piece, mode, number(1e3 * found["median"]), *map(number, ratios)])
    return markdown_table(head, rows)


def memory_table(result: Mapping[str, Any]) -> str:
    """Return the peak of each contender's process, and what the model and its training added."""
    opponent = result["bytes"].get("composition-as-is")
    head = ["contender", "before, MB", "peak, MB", "added, MB", *(["of composition-as-is"] if opponent else [])]
    rows = []
    for name, found in result["bytes"].items():
        row = [name, *(f"{found[key] / 1e6:.0f}" for key in ("before", "peak", "added"))]
        rows.append([*row, percent(found["added"] / opponent["added"])] if opponent else row)
    return markdown_table(head, rows)


def modes_table(result: Mapping[str, Any]) -> str:
    """Return peak and time of the ways to need less memory, with and without keeping blocks."""
    head = ("mode", "peak, GB", "keeping blocks: peak, GB", "step, s", "keeping blocks: step, s")
    rows = [
        [name, *(f"{one['peak'] / 1e9:.2f}" for one in found), *(f"{one['seconds']:.1f}" for one in found)]
        for name, found in result.items()
    ]
    return markdown_table(head, rows)


def seconds_table(head: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return medians and quartiles in milliseconds."""
    rows = [(name, *milliseconds(found)) for name, found in values.items()]
    return markdown_table((head, "median, ms", "quartiles"), rows)


def growth_table(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    """Return time per sample and per multiply-accumulate over sizes that differ in `what`."""
    head = [what, "kMAC per grid point"]
    modes = list(rows[0]["seconds_per_sample"])
    for mode in modes:
        head += [f"{mode}, ms", "ps per MAC", "growth"]
    lines = []
    for row in rows:
        line = [str(row["size"][what]), number(1e-3 * row["macs_per_grid_point"])]
        for mode in modes:
            median = row["seconds_per_sample"][mode]["median"]
            first = rows[0]["seconds_per_sample"][mode]["median"]
            line += [number(1e3 * median), number(1e12 * row["seconds_per_mac"][mode]), number(median / first)]
        lines.append(line)
    return markdown_table(head, lines)


def check_table(rows: Sequence[tuple[str, float | None, float, str]]) -> str:
    """Return measured and stored ratios."""
    head = ("composition-as-is over", "measured", "stored", "verdict")
    return markdown_table(head, [(name, number(value), number(stored), text) for name, value, stored, text in rows])


def draw_speed(sizes: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the time per sample of each contender, a row per size, a column per mode; a line marks each roofline."""
    from matplotlib.figure import Figure

    modes = list(next(iter(next(iter(sizes.values()))["seconds_per_sample"].values())))
    figure = Figure(figsize=(5.0 * len(modes), 2.6 * len(sizes)), layout="constrained")
    panels = figure.subplots(len(sizes), len(modes), squeeze=False)
    for row, (size, result) in zip(panels, sizes.items(), strict=True):
        for axes, mode in zip(row, modes, strict=True):
            found = {name: times[mode] for name, times in result["seconds_per_sample"].items()}
            _bars(axes, {name: 1e3 * value["median"] for name, value in found.items()})
            for position, value in enumerate(found.values()):
                ends = [1e3 * value["lower_quartile"], 1e3 * value["upper_quartile"]]
                axes.plot(ends, [position, position], color="black", linewidth=1)
            for line, (dtype, roofline) in zip(("--", ":"), result["roofline"].items(), strict=False):
                height = 1e3 * roofline[mode]["seconds"]
                axes.axvline(height, color="tab:red", linestyle=line, label=f"roofline, {dtype}")
            if result["roofline"]:
                axes.legend(fontsize=7)
            axes.set_title(f"{size}: {mode}")
            axes.set_xlabel(f"ms per {result['sample']}")
    figure.savefig(path, dpi=110)


def _bars(axes: Any, values: Mapping[str, float]) -> None:
    bars = axes.barh(list(values), list(values.values()), color="tab:blue", alpha=0.7)
    axes.bar_label(bars, labels=[number(value) for value in values.values()], padding=2, fontsize=8)
    axes.margins(x=0.15)
    axes.invert_yaxis()


def draw_growth(
    spheres: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, Any]], paper: Mapping[str, float], path: Path
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
