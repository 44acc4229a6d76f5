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
OURS = ("auto", "auto-bf16")


def ratios(speed: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, float]:
    """Return what the composition, as a user gets it, needs in multiples of ours; the larger the better.

    Parameters
    ----------
    speed, memory
        Results of those commands at one size.
    """
    speedups, taken = speed["speedups"], memory["bytes"]
    found = {f"{name}, {mode}": ratio for name in OURS for mode, ratio in speedups.get(name, {}).items()}
    return found | {
        f"{name}, memory": taken[OPPONENT]["added"] / taken[name]["added"] for name in OURS if name in taken
    }


def kind_of_machine(machine: Mapping[str, Any]) -> str:
    """Name the instructions that ratios hang on: those for vectors, and those for products in bfloat16."""
    return f"{machine['vector_instructions']}{', bfloat16' if machine['bf16_instructions'] else ''}"


def store(found: Mapping[str, float], machine: Mapping[str, Any], path: Path = STORED) -> None:
    """Write the ratios that later runs on machines of this kind are held to; those of other kinds stay."""
    stored = _kinds(path) if path.is_file() else {}
    stored[kind_of_machine(machine)] = {"ratios": dict(found), "machine": dict(machine)}
    with atomic_write(path) as file:
        file.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def read(machine: Mapping[str, Any], path: Path = STORED) -> dict[str, float]:
    """Read the ratios that `store` wrote on a machine of the same kind.

    Raises
    ------
    InputError
        If there are none.
    """
    kinds, kind = _kinds(path), kind_of_machine(machine)
    if kind not in kinds:
        raise InputError(
            f"{path} has ratios of machines with {'; '.join(kinds)}, and this one has {kind}; write its own with "
            "`check --store`"
        )
    return dict(kinds[kind]["ratios"])


def _kinds(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {kind: {"ratios": dict(of["ratios"]), "machine": dict(of["machine"])} for kind, of in document.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no ratios to compare with; write them with `check --store`") from error


def compare(
    found: Mapping[str, float], stored: Mapping[str, float], slack: float
) -> tuple[list[tuple[str, float | None, float, str]], bool]:
    """Compare ratios with the stored ones, than which they may be smaller by the share `slack`.

    Returns
    -------
    list of tuple
        For each stored ratio its name, the measured value, the stored one and a verdict.
    bool
        Whether all are well.
    """
    rows: list[tuple[str, float | None, float, str]] = []
    for name, wanted in stored.items():
        value = found.get(name)
        if value is None:
            verdict = "missing"
        elif value < wanted * (1 - slack):
            verdict = f"worse by {100 * (1 - value / wanted):.0f} %"
        else:
            verdict = "as good"
        rows.append((name, value, wanted, verdict))
    return rows, all(verdict == "as good" for *_, verdict in rows)
