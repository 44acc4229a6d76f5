"""Whether the package has become slower or larger against the composition: ratios, never absolute times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write

STORED = Path(__file__).with_name("ratios.json")
OPPONENT = "composition-as-is"
BF16 = "auto-bf16"


def ratios(speed: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, float]:
    """Return what the composition, as a user gets it, needs in multiples of ours; the larger the better.

    Parameters
    ----------
    speed
        What `measure_speed` returned.
    memory
        What `measure_memory` returned.
    """
    found = {
        f"{name}, {mode}": ratio
        for name, of_name in speed["speedups"].items()
        for mode, ratio in of_name.items()
        if name in ("auto", BF16)
    }
    taken = memory["bytes"]
    for name in ("auto", BF16):
        if name in taken:
            found[f"{name}, memory"] = taken[OPPONENT]["added"] / taken[name]["added"]
    return found


def store(found: Mapping[str, float], machine: Mapping[str, Any], path: Path = STORED) -> None:
    """Write the ratios that later runs are held to."""
    with atomic_write(path) as file:
        file.write_text(
            json.dumps({"ratios": dict(found), "machine": dict(machine)}, indent=1) + "\n", encoding="utf-8"
        )


def read(path: Path = STORED) -> dict[str, Any]:
    """Read what `store` wrote.

    Raises
    ------
    InputError
        If there is nothing readable.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"ratios": dict(document["ratios"]), "machine": dict(document["machine"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no ratios to compare with; write them with `check --store`") from error


def compare(
    found: Mapping[str, float], stored: Mapping[str, Any], machine: Mapping[str, Any], slack: float
) -> tuple[list[tuple[str, float | None, float, str]], bool]:
    """Compare ratios with the stored ones.

    bfloat16 is left out if only one of both machines has instructions for it.

    Parameters
    ----------
    found
        Measured ratios by name.
    stored
        What `read` returned.
    machine
        What `benchmarks.machine.describe` returned.
    slack
        How much smaller a ratio may be, as a share of the stored one.

    Returns
    -------
    list of tuple
        For each stored ratio its name, the measured value, the stored one and a verdict.
    bool
        Whether all are well.
    """
    same = machine["bf16_instructions"] == stored["machine"]["bf16_instructions"]
    rows: list[tuple[str, float | None, float, str]] = []
    well = True
    for name, wanted in stored["ratios"].items():
        value = found.get(name)
        if name.startswith(BF16) and not same:
            verdict = "left out"
        elif value is None:
            verdict, well = "missing", False
        elif value < wanted * (1 - slack):
            verdict, well = f"worse by {100 * (1 - value / wanted):.0f} %", False
        else:
            verdict = "as good"
        rows.append((name, value, wanted, verdict))
    return rows, well
