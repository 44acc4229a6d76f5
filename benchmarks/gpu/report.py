"""The results as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.gpu.speed import GOALS, PAPER, PAPER_AT_20


def failures(document: dict[str, Any]) -> list[str]:
    """List what failed or was out of tolerance."""
    found = []
    for name, entry in document["parts"].items():
        if entry["status"] not in ("done", "skipped"):
            found.append(f"{name}: {entry.get('note', entry['status'])}")
        result = entry.get("result", {})
        found += [f"{name}, {what}: {error}" for what, error in result.get("errors", {}).items()]
        for row in result.get("rows", []):
            if row.get("ok") is False:
                found.append(f"{name}: {row['name']}, {row['precision']}, {row['what']}: {_differences(row)}")
    return found


def summary(document: dict[str, Any]) -> str:
    """Write the page."""
    parts = document["parts"]
    results = {name: entry["result"] for name, entry in parts.items() if entry["status"] == "done"}
    text = ["# GPU report", "", *_machine(results.get("machine", {}))]
    if document["setting"]["tiny"]:
        text += ["", "At tiny size: the numbers say nothing."]
    wrong = failures(document)
    text += ["", "## Failed or out of tolerance", "", *([f"- {line}" for line in wrong] or ["Nothing."])]
    left_out = [f"- {name}: {entry['note']}" for name, entry in parts.items() if entry["status"] == "skipped"]
    text += ["", "## Left out", "", *left_out] if left_out else []
    text += _speed(results) + _floor(results) + _pieces(results) + _spheres(results)
    text += _checks(results) + _profile(results) + _operations(results)
    seconds = [[name, entry["status"], f"{entry['seconds']:.1f}"] for name, entry in parts.items()]
    text += ["", "## Parts", "", *table(["part", "status", "s"], seconds)]
    return "\n".join(text) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as text, or a dash."""
    return "–" if value is None else f"{value:.{digits}g}"


def _machine(found: dict[str, Any]) -> list[str]:
    gpu = found.get("gpu", {})
    versions = found.get("versions", {})
    lines = [f"- processor: {found.get('processor', 'unknown')}, {found.get('cores', '?')} cores"]
    lines += [f"- GPU: {', '.join(f'{key} {value}' for key, value in gpu.items())}"] if gpu else []
    lines.append(f"- versions: {', '.join(f'{key} {value}' for key, value in versions.items())}")
    lines.append(f"- python {found.get('python', '?')}, {found.get('system', '?')}, {found.get('date', '?')}")
    return lines


def _speed(results: dict[str, Any]) -> list[str]:
    rows = [row for name, found in results.items() if name.startswith("speed") for row in found["rows"]]
    text = []
    for mode, unit, key in (("training", "s per epoch", "seconds_per_epoch"), ("inference", "", "")):
        chosen = [row for row in rows if row["mode"] == mode]
        if not chosen:
            continue
        goals = " and ".join(f"{goal:g}" for goal in GOALS[mode])
        what = "s per epoch of 9,840 shapes" if key else "ms per batch of 32"
        text += ["", f"## {mode.capitalize()}, the paper's model", ""]
        text += [f"Goals: {goals} {what}; the paper's V100, interpolated: {PAPER_AT_20[mode]:g}.", ""]
        head = ["precision", "variant", "ms per batch (quartiles)", *([unit] if key else ["from eager"])]
        lines = []
        for row in sorted(chosen, key=lambda row: row["ms"]["median"]):
            ms = row["ms"]
            quartiles = f"{number(ms['median'], 4)} ({number(ms['lower_quartile'])}–{number(ms['upper_quartile'])})"
            last = number(row[key]) if key else f"{row['difference_from_eager']:.1e}"
            line = [row["precision"], row["variant"], quartiles, last, number(row.get("first_call_seconds"))]
            lines.append([*line, number(row.get("peak_memory_gb"))])
        text += table([*head, "first call, s", "peak, GB"], lines)
    return text


def _floor(results: dict[str, Any]) -> list[str]:
    found = results.get("floor")
    if found is None:
        return []
    rates = ", ".join(f"{name} {number(value)}" for name, value in found["rates"].items())
    text = ["", "## Floor", "", f"{found['tflop_per_epoch']:.4g} TFLOP per epoch. Measured rates: {rates}.", ""]
    head = ["", "products at the layers' shapes, ms", "traffic, ms", "both, ms", "all at the best rate, ms"]
    lines = []
    for name, roof in found["roof"].items():
        numbers = (roof["products"], roof["traffic"], roof["ms"], roof["at_best_rate"])
        lines.append([name, *map(number, numbers)])
    return text + table(head, lines)


def _pieces(results: dict[str, Any]) -> list[str]:
    found = results.get("pieces")
    if found is None:
        return []
    lines = [[name, number(value["median"])] for name, value in found["ms"].items()]
    return ["", "## Around the layers, per batch", "", *table(["what", "ms"], lines)]


def _spheres(results: dict[str, Any]) -> list[str]:
    found = results.get("spheres")
    if found is None:
        return []
    head = ["R", "precision", "variant", "s per epoch", "paper", "ms per batch", "paper", "peak, GB"]
    lines = []
    for row in found["rows"]:
        count = row["num_spheres"]
        line = [str(count), row["precision"], row["variant"], number(row["seconds_per_epoch"])]
        line += [number(PAPER["training"].get(count)), number(row["ms_per_batch"])]
        lines.append([*line, number(PAPER["inference"].get(count)), number(row["peak_memory_gb"])])
    return ["", "## Numbers of spheres (Table 4)", "", *table(head, lines)]


def _checks(results: dict[str, Any]) -> list[str]:
    rows = [row for name, found in results.items() if name.startswith("check") for row in found["rows"]]
    if not rows:
        return []
    lines = []
    for row in rows:
        allowed = number(row["allowed"]) if row.get("allowed") is not None else (row["judged"] or "reported")
        verdict = "yes" if row["ok"] else "NO"
        lines.append([row["name"], row["precision"], row["what"], _differences(row), allowed, verdict])
    return ["", "## Checks", "", *table(["what", "precision", "of", "difference", "allowed", "fine"], lines)]


def _differences(row: dict[str, Any]) -> str:
    if "same" in row:
        return "none" if row["same"] else f"{row['norm']:.1e} of the norm"
    found = [f"{row[key]:.1e} {text}" for key, text in (("largest", "largest"), ("norm", "of the norm")) if key in row]
    return ", ".join(found)


def _profile(results: dict[str, Any]) -> list[str]:
    found = results.get("profile")
    if found is None:
        return []
    text = f"{number(found['ms'])} ms in {found['launches']:.0f} launches per step, eager, bf16; more in profile.txt."
    lines = [[number(line["ms"]), f"{line['launches']:.0f}", line["name"][:90]] for line in found["heaviest"][:12]]
    return ["", "## Heaviest kernels", "", text, "", *table(["ms", "launches", "name"], lines)]


def _operations(results: dict[str, Any]) -> list[str]:
    found = results.get("operations")
    if found is None:
        return []
    lines = [
        [row["layer"], row["operation"], number(row["forward"]), number(row["both"]), number(row["copy"])]
        for row in found["rows"]
    ]
    head = ["layer", "operation", "forward, ms", "with backward, ms", "copy of the output, ms"]
    return ["", "## Layer by layer, bf16", "", *table(head, lines)]
