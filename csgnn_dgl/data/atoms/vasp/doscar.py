"""The total DOS of a DOSCAR."""

import re
from pathlib import Path

import numpy as np

from csgnn_dgl.data.atoms.vasp.numbers import numbers_in, one_number, table_of_numbers
from csgnn_dgl.data.atoms.vasp.table import TotalDOS, total_states
from csgnn_dgl.data.packed import read_text
from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

KIND = "DOSCAR"

HEAD = 6
"""Lines before the total DOS."""

FIELDS = (16, 16, 5, 16)
"""Widths of EMAX, EMIN, NEDOS and the Fermi level in the sixth line; they may touch."""


def read_doscar(path: Path) -> tuple[TotalDOS, int | None]:
    """Read the total DOS of a DOSCAR, packed or not, and the number of atoms in its first line, if that is there.

    The first energies and the number of them are in the sixth line to more digits than in the table, whose energies
    may be equal after rounding: they are made anew from there.

    Raises
    ------
    InputError
        If the file is damaged or truncated, or a number in it has overflowed.
    """
    lines = read_text(path).splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{path}: the file is empty; copy it again.")
    if len(lines) < HEAD:
        raise InputError(f"{path}: the sixth line is not that of a DOSCAR; give VASP's file.")
    top, bottom, number, level = _head(lines[HEAD - 1], path)
    last = one_number(top, path, KIND, "EMAX in the sixth line")
    first = one_number(bottom, path, KIND, "EMIN in the sixth line")
    fermi = one_number(level, path, KIND, "the Fermi level in the sixth line")
    count = _count(number, lines, path, last)
    if len(lines) < HEAD + count:
        raise InputError(f"{path}: {len(lines) - HEAD} of {count} energies are there; the file is truncated.")
    rows = lines[HEAD : HEAD + count]
    places = [f"line {HEAD + i + 1}" for i in range(count)]
    values, units = table_of_numbers(rows, path, KIND, places, (3, 5))
    atoms = lines[0].split()
    found = TotalDOS(*total_states(values, units, path, places, (first, last)), fermi)
    return found, int(atoms[1]) if len(atoms) == 4 and atoms[1].isdigit() else None


def _head(line: str, path: Path) -> list[str]:
    """Return the texts of EMAX, EMIN, NEDOS and the Fermi level."""
    ends = np.cumsum(FIELDS)
    fixed = [line[end - width : end] for end, width in zip(ends, FIELDS, strict=True)]
    forms = [r"\s*(?:[+-]?\d*\.\d{8}|\*+)"] * 4
    forms[2] = r"\s*(?:\d+|\*+)"
    if all(re.fullmatch(form, text) for form, text in zip(forms, fixed, strict=True)):
        return fixed
    free = re.match("".join(f"({form})" for form in forms), line)
    words = list(free.groups()) if free else line.split()
    try:
        if len(words) < 4 or not all(numbers_in(word) for word in words[:4]):
            raise ValueError
    except ValueError:
        raise InputError(f"{path}: the sixth line is not that of a DOSCAR; give VASP's file.") from None
    return words[:4]


def _count(text: str, lines: list[str], path: Path, last: float) -> int:
    """Return NEDOS; where VASP had no room for it, the rows up to the energy EMAX are counted."""
    if "*" not in text:
        value = one_number(text, path, KIND, "NEDOS in the sixth line")
        if not value.is_integer() or value < 1:
            raise InputError(f"{path}: NEDOS in the sixth line is {text.strip()}; give VASP's file.")
        return int(value)
    head = lines[HEAD - 1].strip()
    count = next((i for i, line in enumerate(lines[HEAD:]) if line.strip() == head), len(lines) - HEAD)
    try:
        value, unit = numbers_in(lines[HEAD + count - 1])[0]
    except (ValueError, IndexError):
        value, unit = np.nan, 0.0
    if not abs(value - last) <= 1.01 * unit:
        raise InputError(
            f"{path}: NEDOS in the sixth line is {text.strip()}, an overflow, and the last row is not at EMAX = "
            f"{last:g} eV; the file may be truncated, or compute again with NEDOS below 100000."
        )
    note(path, f"NEDOS has overflown (stars); the {count} rows up to EMAX are taken")
    return count
