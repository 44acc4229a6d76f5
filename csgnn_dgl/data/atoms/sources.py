"""One door to all atomic snapshots: a word or a path becomes snapshots."""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from csgnn_dgl.data.atoms.authors import read_snapshot_folders, split_file
from csgnn_dgl.data.atoms.formats import READERS
from csgnn_dgl.data.atoms.formats.extxyz import read_snapshots
from csgnn_dgl.data.atoms.records import Snapshots
from csgnn_dgl.data.atoms.vasp.calculation import calculation_in, read_vasp
from csgnn_dgl.data.progress import progress_bar
from csgnn_dgl.data.splits import SPLITS, check_split
from csgnn_dgl.data.text import check_name
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import notes_together


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
        XYZ (``train.extxyz``, ``train.extxyz.gz``, ``train.xyz``, ...); a folder with folders ``train``, ``val`` and
        ``test`` that hold VASP calculations (:func:`csgnn_dgl.data.read_vasp`) at any depth, ``train/diamond/7/DOSCAR``
        being one of the structure diamond; one VASP calculation (``vasprun.xml``, ``DOSCAR``, or their folder), which
        is the test set; or the authors' folders ``structure/temperature/snapshot`` with ``Train.csv``, ``Val.csv`` and
        ``Test.csv`` (:func:`csgnn_dgl.data.read_snapshot_folders`).
    split
        ``"train"``, ``"val"`` or ``"test"``.
    grid
        The energy bins; the paper's by default.
    offset
        Added to the energies of VASP's and the authors' DOS files, in eV; a ``dos`` in extended XYZ is on the grid
        already.
    valences
        Electrons per atom by chemical symbol, where the files do not tell the number of electrons.
    progress
        Show a progress bar on stderr where reading takes long.

    Returns
    -------
    Snapshots
        All of them with a DOS, in states/eV of the whole cell on `grid`.

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
    check_name(folder)
    calculation = calculation_in(folder)
    if calculation is None and not folder.is_dir():
        raise InputError(
            f"data source {str(source)!r} is no folder; give 'builtin', or a folder with {split}.extxyz, VASP "
            f"calculations in {split}/, or structure/temperature/snapshot folders and CSV lists of splits."
        )
    suffixes = [suffix for suffix in READERS if (folder / f"{split}{suffix}").is_file()]
    if len(suffixes) > 1:
        raise InputError(f"{folder}: both {split}{suffixes[0]} and {split}{suffixes[1]} are there; keep one of them.")
    if suffixes:
        return READERS[suffixes[0]](folder / f"{split}{suffixes[0]}", grid, offset, valences)
    if (folder / split).is_dir() and (found := _calculations(folder / split)):
        shown = progress_bar(found, desc="reading calculations", unit="calculation", disable=not progress)
        with notes_together(folder / split):
            read = [read_vasp(file, grid, offset, valences)[0] for file in shown]
        names = [file.relative_to(folder / split).parts[:-1] or (split,) for file in found]
        return Snapshots(
            tuple(
                replace(item, structure=name[0], index=i)
                for i, (item, name) in enumerate(zip(read, names, strict=True))
            )
        )
    if calculation is not None:
        if split != "test":
            raise InputError(
                f"{calculation}: one calculation can be the test set only; put those for {split!r} into a folder of "
                f"this name."
            )
        return read_vasp(calculation, grid, offset, valences)
    if not (folder / split_file(split)).is_file():
        raise InputError(
            f"{folder}: neither {split}.extxyz (or .xyz, or packed) nor {split_file(split)} is there; add one of them."
        )
    return read_snapshot_folders(folder, split, grid, offset, valences, progress)


def has_split(source: str | os.PathLike[str], split: str) -> bool:
    """Whether a source has anything for a split, which :func:`load_snapshots` reads or refuses."""
    if str(source) == "builtin":
        return True
    folder = Path(source).expanduser()
    if calculation_in(folder) is not None:
        return split == "test"
    listed = [*(f"{split}{suffix}" for suffix in READERS), split_file(split)]
    return any((folder / name).is_file() for name in listed) or bool(_calculations(folder / split))


def read_structures(
    path: str | os.PathLike[str],
    grid: EnergyGrid = PAPER_GRID,
    valences: Mapping[str, float] | None = None,
    offset: float = 0.0,
    elements: Collection[int] | None = None,
) -> Snapshots:
    """Read structures that a DOS is to be predicted of, with their own DOS where they have one.

    Parameters
    ----------
    path
        A VASP calculation (:func:`csgnn_dgl.data.read_vasp`), of which every ionic step counts, or any other file that
        ase reads (:func:`csgnn_dgl.data.read_snapshots`).
    grid, valences
        As in :func:`load_snapshots`.
    offset
        Added to the energies of VASP's DOS, in eV.
    elements
        As in :func:`csgnn_dgl.data.from_atoms`, for files that ase reads.

    Returns
    -------
    Snapshots
        One for each structure or ionic step of the file.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    calculation = calculation_in(Path(path))
    if calculation is not None:
        return read_vasp(calculation, grid, offset, valences, needs_dos=False)
    if Path(path).is_dir():
        raise InputError(
            f"{Path(path)}: neither vasprun.xml nor DOSCAR is in this folder; give the file of the structure."
        )
    return read_snapshots(path, grid, valences, False, elements)


def _calculations(folder: Path) -> list[Path]:
    """Return the VASP calculations in a folder at any depth, in the order of their names."""
    places = [folder, *sorted(place for place in folder.rglob("*") if place.is_dir())]
    files = [file for place in places if (file := calculation_in(place)) is not None]
    for file in files:
        check_name(file)
    return files
