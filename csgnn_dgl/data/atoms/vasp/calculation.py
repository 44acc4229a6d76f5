"""One calculation of VASP as snapshots: its DOS with the structure that it belongs to."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csgnn_dgl.data.atoms.rebin import rebin
from csgnn_dgl.data.atoms.records import Snapshot, Snapshots, electrons_of
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.data.atoms.vasp.doscar import read_doscar
from csgnn_dgl.data.atoms.vasp.table import TotalDOS
from csgnn_dgl.data.atoms.vasp.vasprun import read_vasprun
from csgnn_dgl.data.packed import DAMAGE, PACKED, open_unpacked, unpacked_name
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

if TYPE_CHECKING:
    from ase import Atoms

SAME = 1e-3
"""How far, in Å, atoms of POSCAR and CONTCAR may be apart to be the same."""


def read_vasp(
    path: str | os.PathLike[str],
    grid: EnergyGrid = PAPER_GRID,
    offset: float = 0.0,
    valences: Mapping[str, float] | None = None,
    needs_dos: bool = True,
) -> Snapshots:
    """Read the structure and the total DOS of one VASP calculation.

    Of ``vasprun.xml``: the total DOS of the calculation itself (not that at the k points of ``KPOINTS_OPT`` and the
    like), the structure of the ionic step that it belongs to, and the number of electrons (NELECT). Of ``DOSCAR``: the
    total DOS; the structure comes from ``POSCAR`` or ``CONTCAR`` beside it, the electrons from the valences. Where
    these two differ, VASP has moved the atoms, and ``CONTCAR`` is taken, which a note tells. The two spins are added.

    The states are counted by the DOS column and checked with the integrated one
    (:mod:`csgnn_dgl.data.atoms.vasp.table`); each bin of the grid has the electrons that VASP found there.

    Parameters
    ----------
    path
        ``vasprun.xml``, ``DOSCAR``, or a folder with one of them (the first is taken where both are); also packed by
        gzip, bzip2 or xz.
    grid, valences
        As in :func:`csgnn_dgl.data.load_snapshots`; the valences are for DOSCAR.
    offset
        Added to VASP's energies, in eV, for example minus the vacuum level.
    needs_dos
        Off where only a prediction is wanted: then all ionic steps are returned, the DOS with its own one, and a DOS
        that cannot be used is passed over, and told in a note.

    Returns
    -------
    Snapshots
        One snapshot, named after its folder, with VASP's Fermi level (plus the offset).

    Raises
    ------
    InputError
        If a file is missing, broken or truncated, or the snapshot in it cannot be used.
    """
    given = Path(path)
    file = calculation_in(given) or given
    if file.is_dir():
        raise InputError(f"{given}: neither vasprun.xml nor DOSCAR is in this folder; give one that has one of them.")
    if not file.is_file():
        raise InputError(f"{given}: there is no such file; give a vasprun.xml, a DOSCAR, or a folder with one of them.")
    read = _vasprun if unpacked_name(file).lower().endswith(".xml") or _is_vasprun(file) else _doscar
    return Snapshots(read(file, grid, offset, valences, needs_dos))


def calculation_in(path: Path) -> Path | None:
    """Return the file of the calculation that a path is, or that is in a folder; None if it is none."""
    if path.is_dir():
        return _present(path, ("vasprun.xml", "DOSCAR"))
    if not path.is_file():
        return None
    return path if unpacked_name(path).upper().startswith("DOSCAR") or _is_vasprun(path) else None


def _present(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of these files, packed or not, that is in a folder."""
    files = [folder / f"{name}{packed}" for name in names for packed in ("", *PACKED)]
    return next((file for file in files if file.is_file()), None)


def _is_vasprun(path: Path) -> bool:
    if unpacked_name(path).lower() == "vasprun.xml":
        return True
    try:
        with open_unpacked(path) as file:
            return b"<modeling" in file.read(1000)
    except DAMAGE:
        return False


def _vasprun(
    path: Path, grid: EnergyGrid, offset: float, valences: Mapping[str, float] | None, needs_dos: bool
) -> tuple[Snapshot, ...]:
    run = read_vasprun(path)
    if needs_dos and run.electrons is None:
        raise InputError(f"{path}: there is no NELECT in the file; give the vasprun.xml of a finished calculation.")
    found: TotalDOS | None = None
    if needs_dos or run.dos is not None:
        try:
            found = run.total_dos()
        except InputError as error:
            if needs_dos:
                raise
            _passed_over(path, error)
    place = len(run.steps) - 1 if run.place is None else run.place
    if found is not None and run.others:
        others = ", ".join(sorted(set(run.others)))
        note(path, f"densities of states at other k points ({others}) are passed over")
    if found is not None and len(run.steps) > 1:
        note(
            path,
            f"the DOS is that of ionic step {place + 1} of {len(run.steps)}, whose structure is taken; VASP may "
            f"have averaged it over the steps (KBLOCK)",
        )
    chosen = [place] if needs_dos else range(len(run.steps))
    return tuple(
        _snapshot(
            run.steps[step],
            run.electrons if run.electrons is not None else electrons_of(run.steps[step].numbers, valences),
            found if step == place else None,
            (path, index, grid, offset, needs_dos),
        )
        for index, step in enumerate(chosen)
    )


def _doscar(
    path: Path, grid: EnergyGrid, offset: float, valences: Mapping[str, float] | None, needs_dos: bool
) -> tuple[Snapshot, ...]:
    found: TotalDOS | None = None
    count: int | None = None
    try:
        found, count = read_doscar(path)
    except InputError as error:
        if needs_dos:
            raise
        _passed_over(path, error)
    atoms = _structure_beside(path)
    if count is not None and count != len(atoms):
        note(path, f"its first line tells of {count} atoms, but the structure beside it has {len(atoms)}")
    electrons = electrons_of(atoms.numbers, valences)
    return (_snapshot(atoms, electrons, found, (path, 0, grid, offset, needs_dos)),)


def _structure_beside(path: Path) -> "Atoms":
    """Return the structure of POSCAR or CONTCAR in the folder of a DOSCAR; where they differ, of CONTCAR."""
    ending = unpacked_name(path)[len("DOSCAR") :]  # DOSCAR.relax2 has a POSCAR.relax2
    pairs = [(f"{name}{ending}", name) for name in ("POSCAR", "CONTCAR")]
    files = [file for names in pairs if (file := _present(path.parent, names)) is not None]
    files = [file for file in files if file.stat().st_size] or files  # CONTCAR is empty in the first ionic step
    if not files:
        raise InputError(f"{path}: there is no POSCAR or CONTCAR beside it; put the structure there.")
    read: list[Atoms] = []
    for file in files:
        try:
            read.append(read_atoms(file, "vasp")[-1])
        except InputError as error:
            if len(files) == 1 or (file is files[-1] and not read):
                raise
            note(path, f"the structure is taken from the other file, because {error}")
    if len(read) == 2 and _differ(*read):
        note(
            path,
            f"{files[0].name} and {files[1].name} differ, so VASP has moved the atoms: the structure is taken from "
            f"{files[1].name}; VASP may have averaged the DOS over the ionic steps (KBLOCK)",
        )
    return read[-1] if len(read) == 2 and _differ(*read) else read[0]


def _differ(first: "Atoms", second: "Atoms") -> bool:
    if not np.array_equal(first.numbers, second.numbers):
        return True
    if np.abs(first.cell.array - second.cell.array).max() > SAME:
        return True
    gap = first.get_scaled_positions() - second.get_scaled_positions()
    return bool(np.abs((gap - np.round(gap)) @ first.cell.array).max() > SAME)


def _snapshot(
    atoms: "Atoms",
    electrons: float | None,
    found: TotalDOS | None,
    how: tuple[Path, int, EnergyGrid, float, bool],
) -> Snapshot:
    path, index, grid, offset, needs_dos = how
    name = f"{path}: snapshot {index}"
    facts = {"structure": path.absolute().parent.name, "source": str(path), "index": index, "grid": grid}
    if found is not None:
        try:
            dos = rebin(found.energies, found.holding(electrons), grid, name, offset)
            level = found.fermi_level + offset
            return Snapshot.of(atoms, num_electrons=electrons, dos=dos, fermi_level=level, **facts)
        except InputError as error:
            if needs_dos:
                raise
            bare = Snapshot.of(atoms, num_electrons=electrons, **facts)  # what is wrong with the atoms is raised here
            _passed_over(path, error)
            return bare
    return Snapshot.of(atoms, num_electrons=electrons, **facts)


def _passed_over(path: Path, error: InputError) -> None:
    note(path, f"its DOS, which a prediction does not need, is passed over ({str(error).removeprefix(f'{path}: ')})")
