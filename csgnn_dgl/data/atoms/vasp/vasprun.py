"""The ionic steps of a vasprun.xml, with the total DOS of the calculation itself."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.atoms.vasp.numbers import one_number, some_numbers, table_of_numbers
from csgnn_dgl.data.atoms.vasp.table import TotalDOS, total_states
from csgnn_dgl.data.packed import DAMAGE, open_unpacked
from csgnn_dgl.errors import InputError, reason

if TYPE_CHECKING:
    from ase import Atoms

Element = ElementTree.Element

KIND = "vasprun.xml"

CUT = {"X": "Xe", "r": "Zr"}
"""Symbols that some versions of VASP write, and what they mean."""


@dataclass(frozen=True)
class Vasprun:
    """What is read of a vasprun.xml.

    Attributes
    ----------
    steps
        The structure of each ionic step.
    electrons
        NELECT, or None where it is missing.
    place
        Which step the DOS belongs to; None where there is no DOS.
    dos
        The element with it.
    others
        What the densities of states at other k points are marked with.
    """

    path: Path
    steps: "list[Atoms]"
    electrons: float | None
    place: int | None
    dos: Element | None
    others: tuple[str, ...]

    def total_dos(self) -> TotalDOS:
        """Return the total DOS.

        Raises
        ------
        InputError
            If there is none, or it is damaged or has an overflow.
        """
        path = self.path
        if self.dos is None and self.others:
            raise InputError(
                f"{path}: there is no total DOS of the calculation itself, only one marked {self.others[0]!r}, of "
                f"other k points; give the vasprun.xml of a calculation with a DOS."
            )
        sets = [] if self.dos is None else self.dos.findall("total/array/set/set")
        if self.dos is None or not sets:
            raise InputError(
                f"{path}: there is no total DOS in the file; give the vasprun.xml of a finished calculation."
            )
        level = self.dos.find("i[@name='efermi']")
        fermi = one_number("" if level is None else level.text or "", path, KIND, "the Fermi level (efermi)")
        tables = []
        # a non-collinear calculation may have four sets: all states, and three directions of their magnetisation
        for spin, one in enumerate(sets if len(sets) == 2 else sets[:1], start=1):
            rows = [row.text or "" for row in one]
            places = [f"row {i} of spin {spin}" for i in range(1, len(rows) + 1)]
            tables.append(table_of_numbers(rows, path, KIND, places, (3,)))
        if len({len(values) for values, _ in tables}) > 1:
            raise InputError(f"{path}: the two spins of the total DOS have different numbers of rows; copy it again.")
        values, units = (
            np.column_stack([tables[0][k][:, 0], *(one[k][:, c] for c in (1, 2) for one in tables)]) for k in (0, 1)
        )
        places = [f"row {i}" for i in range(1, len(values) + 1)]
        return TotalDOS(*total_states(values, units, path, places), fermi)


def read_vasprun(path: Path) -> Vasprun:
    """Read a vasprun.xml, packed or not.

    The DOS of the calculation is the ``dos`` without a comment right inside of a ``calculation``; what has a comment
    (``kpoints_opt``) or is inside of another element belongs to other k points. Of several the last counts. Its
    structure is the one in the same ``calculation``, that is of the same ionic step.

    Raises
    ------
    InputError
        If the file is damaged or truncated, or has no structure.
    """
    reader = _Reader(path)
    try:
        with open_unpacked(path) as file:
            reader.read(file)
    except (ElementTree.ParseError, *DAMAGE) as error:
        raise InputError(f"{path}: not a complete vasprun.xml ({reason(error)}); copy it again.") from None
    return reader.result()


class _Reader:
    """Goes through the elements of a file, and keeps no more than it needs of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.symbols: list[str] = []
        self.whole: Element | None = None
        self.structures: list[Element | None] = []
        self.electrons: dict[str, str] = {}
        self.found: tuple[int, Element] | None = None
        self.others: list[str] = []

    def read(self, file: IO[bytes]) -> None:
        stack: list[Element] = []
        for event, element in ElementTree.iterparse(file, events=("start", "end")):
            if event == "start":
                stack.append(element)
                if element.tag == "calculation" and len(stack) == 2:
                    self.structures.append(None)
                continue
            tags = tuple(one.tag for one in stack[1:])
            stack.pop()
            self._end(tags, element)
            # what is kept is kept as it is; the rest would fill the memory
            inside = len(tags) == 2 and tags[0] == "calculation" and tags[1] not in ("structure", "dos")
            if inside or (len(tags) == 1 and element is not self.whole):
                element.clear()

    def _end(self, tags: tuple[str, ...], element: Element) -> None:
        if element.tag == "i" and element.get("name") == "NELECT":
            self.electrons[tags[0]] = element.text or ""
        elif tags == ("atominfo", "array") and element.get("name") == "atoms":
            self.symbols = [(row.findtext("c") or "").strip() for row in element.findall("set/rc")]
        elif tags == ("structure",):
            self.whole = element
        elif tags == ("calculation", "structure"):
            self.structures[-1] = element
        elif element.tag == "dos":
            comment = element.get("comment")
            if tags == ("calculation", "dos") and not comment:
                self.found = len(self.structures) - 1, element
            else:
                self.others.append(comment or (tags[-2] if len(tags) > 1 else "modeling"))

    def result(self) -> Vasprun:
        path = self.path
        given = self.electrons.get("parameters") or next(iter(self.electrons.values()), None)
        electrons = None if given is None else one_number(given, path, KIND, "the number of electrons (NELECT)")
        place, dos = self.found or (None, None)
        elements = [self.whole if one is None else one for one in self.structures] or [self.whole]
        steps = [self._atoms(one, number) for number, one in enumerate(elements, start=1)]
        return Vasprun(path, steps, electrons, place, dos, tuple(self.others))

    def _atoms(self, element: Element | None, number: int) -> "Atoms":
        from ase import Atoms
        from ase.data import atomic_numbers

        path = self.path
        if element is None:
            raise InputError(f"{path}: there is no structure in the file; give VASP's whole file.")
        symbols = [CUT.get(symbol, symbol) for symbol in self.symbols]
        unknown = next((symbol for symbol in symbols if symbol not in atomic_numbers), None)
        if unknown is not None or not symbols:
            raise InputError(
                f"{path}: "
                + ("there are no atoms (atominfo)" if unknown is None else f"{unknown!r} is no element")
                + "; give VASP's whole file."
            )
        cell = self._vectors(element.find("crystal/varray[@name='basis']"), f"the cell of ionic step {number}")
        scaled = self._vectors(element.find("varray[@name='positions']"), f"the positions of ionic step {number}")
        if len(cell) != 3 or len(scaled) != len(symbols):
            raise InputError(
                f"{path}: ionic step {number} has {len(cell)} lattice vectors and {len(scaled)} positions of "
                f"{len(symbols)} atoms; copy the file again."
            )
        return Atoms(symbols, scaled_positions=scaled, cell=cell, pbc=True)

    def _vectors(self, element: Element | None, what: str) -> NDArray[np.float64]:
        rows = [] if element is None else [row.text or "" for row in element]
        found = [some_numbers(row, 3, self.path, KIND, what) for row in rows]
        return np.array(found, dtype=np.float64).reshape(-1, 3)
