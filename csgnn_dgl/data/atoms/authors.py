"""Snapshots in the folders of the paper's authors."""

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.atoms.rebin import rebin
from csgnn_dgl.data.atoms.records import Snapshot, Snapshots, electrons_of
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.data.progress import progress_bar
from csgnn_dgl.data.splits import SPLITS
from csgnn_dgl.data.text import read_lines
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError, reason

STRUCTURE_FILE = "POSCAR"
DOS_FILE = "doscar_s"


def read_snapshot_folders(
    root: str | os.PathLike[str],
    split: str | os.PathLike[str] | None = None,
    grid: EnergyGrid = PAPER_GRID,
    offset: float = 0.0,
    valences: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Snapshots:
    """Read the folders of the paper's authors: ``structure/temperature/snapshot/`` with POSCAR and DOS file.

    ``temperature`` is a number with or without ``K`` (``300K``). The DOS file ``doscar_s`` has two columns, the
    energy in eV and the DOS of the whole cell in states per eV, separated by spaces. Row j is the DOS from
    its own energy to the next row's; the last row ends the last bin, and its DOS is not used. If the energies
    are the edges of the grid (to 1e-6 eV), the values are taken as they are, otherwise they are put on the
    bins by their integral.

    A split is a CSV file with a header. Each row has a column with the path of a snapshot's folder, of which the
    last three parts count (``anything/Graphene/300K/17``). There may be columns ``num_electrons`` and
    ``offset`` (eV), which hold for their row.

    Parameters
    ----------
    root
        The folder that holds the structures' folders.
    split
        ``"train"``, ``"val"`` or ``"test"`` for ``Train.csv``, ``Val.csv`` or ``Test.csv`` in `root`, the path of
        another CSV file, or None for all folders with a POSCAR.
    grid, offset, valences, progress
        As in :func:`csgnn_dgl.data.load_snapshots`; a row's own offset comes on top.

    Returns
    -------
    Snapshots
        In the order of the CSV file, or else of the folders' names.

    Raises
    ------
    InputError
        If a folder or file is missing or broken, or a snapshot cannot be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; give the one that holds structure/temperature/snapshot.")
    if split is None:
        rows: list[tuple[Path, dict[str, float]]] = [
            (folder, {}) for folder in sorted(path.parent for path in root.glob(f"*/*/*/{STRUCTURE_FILE}"))
        ]
        if not rows:
            raise InputError(f"{root}: no snapshots; arrange them as structure/temperature/snapshot/{STRUCTURE_FILE}.")
    else:
        rows = _read_split(root, root / (split_file(str(split)) if str(split) in SPLITS else split))
    shown = progress_bar(rows, desc="reading snapshots", unit="snapshot", disable=not progress)
    return Snapshots(
        tuple(_read_folder(folder, facts, grid, offset, valences, i) for i, (folder, facts) in enumerate(shown))
    )


def split_file(split: str) -> str:
    """Return the name of the list of the snapshots of a split; the first two bear the authors' names."""
    return f"{split.capitalize()}.csv"


def _read_folder(
    folder: Path,
    facts: Mapping[str, float],
    grid: EnergyGrid,
    offset: float,
    valences: Mapping[str, float] | None,
    index: int,
) -> Snapshot:
    for kind in (STRUCTURE_FILE, DOS_FILE):
        if not os.path.isfile(folder / kind):
            raise InputError(f"{folder / kind}: there is no such file, but snapshot {index} needs it; add it.")
    atoms = read_atoms(folder / STRUCTURE_FILE, "vasp")[-1]
    source, name = folder / DOS_FILE, f"{folder / DOS_FILE}: snapshot {index}"
    table = _table(source, read_lines(source))
    energies, values = table[:, 0], table[:-1, 1]
    offset += facts.get("offset", 0.0)
    edges = energies + offset
    if edges.shape == grid.edges.shape and np.abs(edges - grid.edges).max() < 1e-6:
        dos = values
    else:
        dos = rebin(energies, np.concatenate([[0.0], np.cumsum(values * np.diff(energies))]), grid, name, offset)
    given = facts.get("num_electrons")
    temperature = re.fullmatch(r"(\d+\.?\d*)\s*K?", folder.parent.name)
    return Snapshot.of(
        atoms,
        num_electrons=electrons_of(atoms.numbers, valences) if given is None else given,
        dos=dos,
        grid=grid,
        structure=folder.parent.parent.name,
        temperature=float(temperature.group(1)) if temperature else None,
        source=str(source),
        index=index,
    )


def _read_split(root: Path, path: Path) -> list[tuple[Path, dict[str, float]]]:
    """Return folder and facts of each row of a CSV file."""
    lines = read_lines(path)
    header = [cell.strip().lower() for cell in next(csv.reader(lines[:1]))]
    rows = []
    for number, row in enumerate(csv.reader(lines[1:]), start=2):
        paths = [cell.strip().replace("\\", "/") for cell in row if len(PurePosixPath(cell.strip()).parts) >= 3]
        if not paths:
            raise InputError(f"{path}: line {number} has no path structure/temperature/snapshot; give one per line.")
        structure, temperature, snapshot = PurePosixPath(paths[0]).parts[-3:]
        folder = root / structure / temperature / snapshot
        if not os.path.isdir(folder) and not temperature.endswith("K"):
            folder = root / structure / f"{temperature}K" / snapshot
        facts = {}
        for key, cell in zip(header, row, strict=False):
            if key in ("num_electrons", "offset") and cell.strip():
                try:
                    facts[key] = float(cell)
                except ValueError:
                    raise InputError(f"{path}: line {number} has {key} = {cell!r}; give a number.") from None
        rows.append((folder, facts))
    if not rows:
        raise InputError(f"{path}: the list has a header but no snapshots; add some.")
    return rows


def _table(path: Path, lines: list[str]) -> NDArray[np.float64]:
    try:
        return np.loadtxt(lines, dtype=np.float64, ndmin=2, usecols=range(2))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a table of two columns, energy and DOS ({reason(error)}); the file may be damaged."
        ) from None
