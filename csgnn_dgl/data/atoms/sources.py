"""One door to all atomic snapshots: a word or a path becomes snapshots."""

import os
from collections.abc import Mapping
from pathlib import Path

from csgnn_dgl.data.atoms.formats import READERS
from csgnn_dgl.data.atoms.records import Snapshots
from csgnn_dgl.data.atoms.vasp import read_snapshot_folders, split_file
from csgnn_dgl.data.splits import SPLITS, check_split
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError


def load_snapshots(
    source: str | os.PathLike[str],
    split: str,
    grid: EnergyGrid = PAPER_GRID,
    offset: float = 0.0,
    valences: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Snapshots:
    """Load one split of a set of atomic snapshots with their DOS.

    Parameters
    ----------
    source
        ``"builtin"`` for the built-in carbon allotropes; a folder with ``train``, ``val`` and ``test`` as extended
        XYZ (``train.extxyz``, ``train.extxyz.gz``, ``train.xyz``, ...); or the authors' folders
        ``structure/temperature/snapshot`` with ``Train.csv``, ``Val.csv`` and ``Test.csv``
        (:func:`csgnn_dgl.data.atoms.vasp.read_snapshot_folders`).
    split
        ``"train"``, ``"val"`` or ``"test"``.
    grid
        The energy bins; the paper's by default.
    offset
        Added to the energies of the authors' DOS files, in eV; a ``dos`` in extended XYZ is on the grid already.
    valences
        Electrons per atom by chemical symbol, where the files do not tell the number of electrons.
    progress
        Show a progress bar on stderr where reading takes long.

    Raises
    ------
    InputError
        If there is no such source, or it cannot be read.
    """
    from csgnn_dgl.data.atoms.carbon import carbon_snapshots

    check_split(split, SPLITS, source)
    if str(source) == "builtin":
        if offset or grid != PAPER_GRID:
            raise InputError("the built-in data are on 310 bins of 0.1 eV from -30 eV; set no other grid or offset.")
        return carbon_snapshots(split)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"data source {str(source)!r} is no folder; give 'builtin', or a folder with {split}.extxyz or "
            f"structure/temperature/snapshot folders and CSV lists of splits."
        )
    suffixes = [suffix for suffix in READERS if (folder / f"{split}{suffix}").is_file()]
    if len(suffixes) > 1:
        raise InputError(f"{folder}: both {split}{suffixes[0]} and {split}{suffixes[1]} are there; keep one of them.")
    if suffixes:
        return READERS[suffixes[0]](folder / f"{split}{suffixes[0]}", grid, offset, valences)
    if not (folder / split_file(split)).is_file():
        raise InputError(
            f"{folder}: neither {split}.extxyz (or .xyz, or packed) nor {split_file(split)} is there; add one of them."
        )
    return read_snapshot_folders(folder, split, grid, offset, valences, progress)
