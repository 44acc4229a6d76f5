"""Snapshots from extended XYZ, or any other file that ase reads."""

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from csgnn_dgl.data.atoms.records import Snapshots, from_atoms
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError, reason

if TYPE_CHECKING:
    from ase import Atoms

DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
}


def read_snapshots(
    path: str | os.PathLike[str],
    grid: EnergyGrid = PAPER_GRID,
    valences: Mapping[str, float] | None = None,
    needs_dos: bool = True,
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
    return from_atoms(read_atoms(path), grid, valences, needs_dos, source=str(path))


def read_atoms(path: Path, format: str | None = None) -> list["Atoms"]:
    """Read all structures of a file with ase, or raise InputError.

    Parameters
    ----------
    path
        The file.
    format
        ase's name of the format, if the file's name does not tell it.
    """
    found: list[Atoms] = []
    try:
        for atoms in _iterate(path, format):
            found.append(atoms)
    except (InputError, ImportError):
        raise
    except Exception as error:  # ase's readers fail in as many ways as there are formats
        raise InputError(
            f"{path}: snapshot {len(found)} cannot be read ({reason(error)}); the file may be truncated or of "
            f"another format."
        ) from None
    if not found:
        raise InputError(f"{path}: there are no snapshots in the file; give at least one.")
    return found


def _iterate(path: Path, format: str | None) -> Iterator["Atoms"]:
    from ase.io import iread

    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if suffix in DECOMPRESS else suffix
    if inner not in (".xyz", ".extxyz") or format is not None:
        for atoms in iread(path, ":", format=format):
            yield atoms
        return
    # ase seeks in the file for every snapshot: in memory, that costs nothing.
    text = _text(path)
    lines = 0
    for atoms in iread(io.StringIO(text), ":", format="extxyz"):
        lines += len(atoms) + 2
        yield atoms
    written = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("VEC")]
    if len(written) > lines:
        raise ValueError("there is text after a blank line, where ase stops reading")


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        unpack = DECOMPRESS.get(path.suffix.lower())
        return (unpack(data) if unpack else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise InputError(f"{path}: the file is damaged or truncated ({reason(error)}); fetch it again.") from None


def _read_split(path: Path, grid: EnergyGrid, offset: float, valences: Mapping[str, float] | None) -> Snapshots:
    if offset:
        raise InputError(f"{path}: an offset of {offset:g} eV is set, but its DOS is on the grid already; unset it.")
    return read_snapshots(path, grid, valences)


READERS = {f"{kind}{packed}": _read_split for kind in (".extxyz", ".xyz") for packed in ("", *DECOMPRESS)}
