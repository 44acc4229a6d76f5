"""Snapshots from extended XYZ, or any other file that ase reads."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from csgnn_dgl.data.atoms.records import Snapshots, from_atoms
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.data.packed import PACKED
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError


def read_snapshots(
    path: str | os.PathLike[str],
    grid: EnergyGrid = PAPER_GRID,
    valences: Mapping[str, float] | None = None,
    needs_dos: bool = True,
    elements: Collection[int] | None = None,
) -> Snapshots:
    """Read all snapshots of a file that ase reads: extended XYZ (also .gz, .bz2, .xz), POSCAR, CIF, traj, ...

    In extended XYZ the second line of each snapshot may hold ``dos``, ``num_electrons`` and more; see
    :func:`csgnn_dgl.data.from_atoms`.

    Parameters
    ----------
    path
        The file.
    grid
        The energy bins of ``dos``; the paper's by default.
    valences
        As in :func:`csgnn_dgl.data.from_atoms`.
    needs_dos
        Refuse snapshots without ``dos``; off where only a prediction is wanted.
    elements
        As in :func:`csgnn_dgl.data.from_atoms`.

    Returns
    -------
    Snapshots
        All snapshots of the file, in its order.

    Raises
    ------
    InputError
        If the file is missing, cannot be read to its end, or a snapshot in it cannot be used; the message names
        file and snapshot.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give extended XYZ or another file that ase reads.")
    return from_atoms(read_atoms(path), grid, valences, needs_dos, str(path), elements)


def _read_split(path: Path, grid: EnergyGrid, offset: float, valences: Mapping[str, float] | None) -> Snapshots:
    if offset:
        raise InputError(f"{path}: an offset of {offset:g} eV is set, but its DOS is on the grid already; unset it.")
    return read_snapshots(path, grid, valences)


READERS = {f"{kind}{packed}": _read_split for kind in (".extxyz", ".xyz") for packed in ("", *PACKED)}
