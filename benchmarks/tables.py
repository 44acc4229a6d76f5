"""Results as Markdown tables that also read well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table; columns are as wide as their widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *rows)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many digits, or a dash for None."""
    if value is None:
        return "-"
    whole = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in whole else whole


def percent(value: float | None) -> str:
    """Write a share."""
    return "-" if value is None else f"{100 * value:.0f} %"


def size_text(size: Mapping[str, Any]) -> str:
    """Say what a size is."""
    kind = "" if size["num_bins"] is None else "density of states, "
    return (
        f"{kind}level {size['level']}, R = {size['num_spheres']}, C = {size['channels']}, F = {size['base_width']}, "
        f"batch {size['batch']}"
    )


def speed_table(result: Mapping[str, Any]) -> str:
    """Return time per sample, speedup over the composition and share of the roof of each contender."""
    times = result["seconds_per_sample"]
    modes = list(next(iter(times.values())))
    head = ["contender"]
    for mode in modes:
        head += [f"{mode}, ms", "quartiles"] + (["times as fast"] if result["opponent"] else []) + ["of the roof"]
    rows = []
    for name, of_name in times.items():
        row = [name]
        for mode in modes:
            found = of_name[mode]
            row.append(number(1e3 * found["median"]))
            row.append(f"{number(1e3 * found['lower_quartile'])} to {number(1e3 * found['upper_quartile'])}")
            if result["opponent"]:
                row.append(number(result["speedups"].get(name, {}).get(mode, 1.0)))
            row.append(percent(result["share_of_roof"].get(name, {}).get(mode)))
        rows.append(row)
    return table(head, rows)


def roof_table(height: Mapping[str, Any]) -> str:
    """Return the roof of one mode, layer by layer."""
    head = ("layer", "products, ms", "GFLOP/s", "traffic, ms", "MB", "GB/s of a copy", "together, ms")
    rows = [
        (
            row["layer"],
            number(1e3 * sum(row["products"].values())),
            number(row["gflops_per_second"]),
            number(1e3 * row["traffic"]),
            number(1e-6 * sum(row["bytes"].values())),
            number(row["copy_gb_per_second"]),
            number(1e3 * row["seconds"]),
        )
        for row in height["layers"]
    ]
    total = [number(1e3 * height[part]) for part in ("products", "traffic", "seconds")]
    return table(head, [*rows, ("all", total[0], "", total[1], "", "", total[2])])


def memory_table(result: Mapping[str, Any]) -> str:
    """Return the peak of each contender's process, and what the model and its training added."""
    rows = []
    opponent = result["bytes"].get("composition-as-is")
    for name, found in result["bytes"].items():
        row = [name, *(f"{found[key] / 1e6:.0f}" for key in ("before", "peak", "added"))]
        rows.append([*row, percent(found["added"] / opponent["added"])] if opponent else row)
    head = ["contender", "before, MB", "peak, MB", "added, MB"]
    return table([*head, "of composition-as-is"] if opponent else head, rows)


def seconds_table(head: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return medians and quartiles in milliseconds."""
    rows = [
        (name, *(number(1e3 * found[key]) for key in ("median", "lower_quartile", "upper_quartile")))
        for name, found in values.items()
    ]
    return table((head, "median, ms", "lower quartile", "upper quartile"), rows)


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
    return table(head, lines)


def check_table(rows: Sequence[tuple[str, float | None, float, str]]) -> str:
    """Return measured and stored ratios."""
    head = ("composition-as-is over", "measured", "stored", "verdict")
    return table(head, [(name, number(value), number(stored), verdict) for name, value, stored, verdict in rows])
