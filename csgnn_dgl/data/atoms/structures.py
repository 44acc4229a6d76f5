"""Structures of files that ase reads, and the spellings of extended XYZ that it does not."""

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from csgnn_dgl.bounds import check, check_regular
from csgnn_dgl.data.atoms.cif import check_symmetry
from csgnn_dgl.data.atoms.records import check_occupancy
from csgnn_dgl.data.packed import PACKED, open_unpacked, read_text, unpacked_name
from csgnn_dgl.errors import InputError, reason

if TYPE_CHECKING:
    from ase import Atoms


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what ase grumbles about is checked here, or harmless
            found.extend(_iterate(path, format))
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
    from ase.io.formats import filetype, ioformats

    check_regular(path)
    if Path(unpacked_name(path)).suffix.lower() not in (".xyz", ".extxyz") or format is not None:
        source: Path | io.StringIO | io.BytesIO = path
        is_cif = Path(unpacked_name(path)).suffix.lower() == ".cif" and format is None
        if is_cif:
            text = read_text(path)
            source, format = io.StringIO(text), "cif"
        elif path.suffix.lower() in PACKED:  # ase would unpack it without bounds
            kind = ioformats[format or filetype(unpacked_name(path), read=False, guess=False)]
            format = kind.name
            with open_unpacked(path) as file:
                source = io.BytesIO(file.read()) if kind.isbinary else io.StringIO(read_text(path))
        for atoms in iread(source, ":", format=format, do_not_split_by_at_sign=True):
            if is_cif:
                check_occupancy(atoms, f"{path}: a structure")
                check_symmetry(path, text, atoms)
            yield atoms
        return
    # ase seeks in the file for every snapshot: in memory, that costs nothing.
    text = read_text(path)
    try:
        text = canonical(text)
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from None
    whole, missing = whole_snapshots(text)
    lines = 0
    for atoms in iread(io.StringIO(whole), ":", format="extxyz") if whole or not missing else ():
        lines += len(atoms) + 2
        yield atoms
    if missing:
        raise ValueError(missing)
    written = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("VEC")]
    if len(written) > lines:
        raise ValueError("there is text after a blank line, where ase stops reading")


def canonical(text: str) -> str:
    """Write what other programs spell their own way as ase reads it.

    The keys ``Lattice``, ``Properties`` and ``pbc`` may be in any case: ase would take a ``PBC=`` for a remark. The
    elements of the atoms may be labels (``C1``), isotopes (``13C``, ``D``) or atomic numbers.

    Raises
    ------
    ValueError
        If a species is no element.
    """
    lines = text.splitlines()
    place = 0
    while place + 1 < len(lines) and lines[place].strip().isdigit():
        count = int(lines[place])
        check("line 2", "it has {} letters", len(lines[place + 1]), LONGEST_COMMENT)
        comment = KEYS.sub(lambda match: f"{match[1]}{SPELLED[match[2].lower()]}=", lines[place + 1])
        lines[place + 1] = comment
        column = _species_column(comment)
        for number in range(place + 2, min(place + 2 + count, len(lines))):
            words = lines[number].split()
            if column is not None and len(words) > column and (element := _element(words[column], number + 1)):
                words[column] = element
                lines[number] = " ".join(words)
        place += 2 + count
    return "\n".join(lines) + "\n"


def whole_snapshots(text: str) -> tuple[str, str]:
    """Return the snapshots of extended XYZ up to one that announces more atoms than follow, and what is missing there.

    ase would look for a line of every atom, however many are announced.
    """
    lines = text.splitlines(keepends=True)
    place = 0
    while place < len(lines) and lines[place].strip().isdigit():
        count, left = int(lines[place]), max(len(lines) - place - 2, 0)
        if count > left:
            return "".join(lines[:place]), f"{count} atoms are announced and {left} lines follow"
        place += 2 + count
    return text, ""


LONGEST_COMMENT = 2**20
"""Letters of the second line of a snapshot in extended XYZ."""

KEYS = re.compile(r"(^|\s)(lattice|properties|pbc)\s*=", re.IGNORECASE)
COLUMNS = 1_000
"""Columns of an atom in extended XYZ."""

SPELLED = {"lattice": "Lattice", "properties": "Properties", "pbc": "pbc"}


def _species_column(comment: str) -> int | None:
    """Return which word of an atom's line is its element; None where atoms are given otherwise."""
    match = re.search(r"Properties=\"?([^\s\"]+)", comment)
    if match is None:
        return 0
    parts = match[1].split(":")
    column = 0
    check("Properties", "they have {} columns", sum(int(part) for part in parts[2::3] if part.isdigit()), COLUMNS)
    for name, width in zip(parts[0::3], parts[2::3], strict=False):
        if name.lower() == "species":
            return column
        column += int(width) if width.isdigit() else 0
    return None


def _element(word: str, number: int) -> str:
    """Return the element that a label, an isotope or an atomic number in a line means; "" where it is one already."""
    from ase.data import atomic_numbers, chemical_symbols

    if word in atomic_numbers:
        return ""
    if word.isdigit() and 0 < int(word) < len(chemical_symbols):
        return chemical_symbols[int(word)]
    if word in ("D", "T"):
        return "H"
    match = re.fullmatch(r"\d{0,3}([A-Za-z]{1,2})[\d+_-]*", word)
    symbol = match[1].capitalize() if match else ""
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"the species {word[:20]!r} in line {number} is no element; write its chemical symbol")
    return symbol
