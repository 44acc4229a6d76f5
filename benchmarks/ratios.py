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
SLACK = 0.2
"""Share by which a ratio may be smaller than the stored one."""


def ratios(speed: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, float]:
    """Return what the composition, as a user gets it, needs in multiples of ours; the larger the better."""
    found = {f"{name}, {mode}": ratio for name in OURS for mode, ratio in speed["speedups"][name].items()}
    added = {name: taken["added"] for name, taken in memory["bytes"].items()}
    return found | {f"{name}, memory": added[OPPONENT] / added[name] for name in OURS}


def kind_of_machine(machine: Mapping[str, Any]) -> str:
    """Name what ratios hang on: who made the processor, its instructions for vectors and for products in bfloat16."""
    maker = machine["processor"].replace("(", " ").split()[0]
    return f"{maker}, {machine['vector_instructions']}{', bfloat16' if machine['bf16_instructions'] else ''}"


def store(found: Mapping[str, float], machine: Mapping[str, Any], path: Path) -> None:
    """Write the ratios that later runs on machines of this kind are held to; those of other kinds stay."""
    kinds = _kinds(path) if path.is_file() else {}
    kinds[kind_of_machine(machine)] = {"ratios": found, "machine": machine}
    with atomic_write(path) as file:
        file.write_text(json.dumps(kinds, indent=1) + "\n", encoding="utf-8")


def read(machine: Mapping[str, Any], path: Path) -> dict[str, float]:
    """Read the ratios that `store` wrote on a machine of the same kind."""
    kinds, kind = _kinds(path), kind_of_machine(machine)
    if kind not in kinds:
        known = f"{path} has ratios of machines with {'; '.join(kinds)}, and this one has {kind}"
        raise InputError(f"{known}; write its own with `check --store`")
    return dict(kinds[kind]["ratios"])


def _kinds(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {kind: {"ratios": dict(of["ratios"]), "machine": dict(of["machine"])} for kind, of in document.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no ratios to compare with; write them with `check --store`") from error


def verdict(value: float | None, stored: float) -> str:
    """Say whether a ratio has become worse."""
    if value is None:
        return "missing"
    return "as good" if value >= stored * (1 - SLACK) else f"worse by {100 * (1 - value / stored):.0f} %"
