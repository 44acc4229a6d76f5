"""Snapshots from a vasprun.xml, which is one calculation of VASP."""

from collections.abc import Mapping
from pathlib import Path

from csgnn_dgl.data.atoms.records import Snapshots
from csgnn_dgl.data.packed import PACKED
from csgnn_dgl.electronic.grid import EnergyGrid


def _read(path: Path, grid: EnergyGrid, offset: float, valences: Mapping[str, float] | None) -> Snapshots:
    from csgnn_dgl.data.atoms.vasp.calculation import read_vasp  # which reads POSCAR by a reader of this package

    return read_vasp(path, grid, offset, valences)


READERS = {f"{kind}{packed}": _read for kind in (".xml", ".vasprun.xml") for packed in ("", *PACKED)}
