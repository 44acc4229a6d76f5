"""Atomic snapshots in memory, with their densities of states: what every reader returns."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from csgnn_dgl.data.atoms.environments import EnvironmentTable
from csgnn_dgl.data.progress import progress_bar
from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.environments import CUTOFF, Environments, check_distances, checked_structure, find_environments
from csgnn_dgl.notes import note

if TYPE_CHECKING:
    from ase import Atoms

VALENCES: dict[str, float] = {
    symbol: count
    for row in ("H He", "Li Be B C N O F Ne", "Na Mg Al Si P S Cl Ar")
    for count, symbol in enumerate(row.split(), start=1)
}
"""Valence electrons per atom (s and p) of the first three rows; other elements have to be told."""

SHORTFALL = 1e-6
"""By what share the DOS may hold fewer electrons than there are: the rounding of written numbers."""


FEWEST = 0.5
"""Share of the valence electrons up to which a told number of electrons is taken for that of a smaller cell."""


LEVEL, COUNT = 0.15, 0.1
"""How far, in eV, a stored Fermi level may lie from where the DOS has all electrons, and how many it may miss there."""


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """One atomic structure, checked when it is made.

    Attributes
    ----------
    positions
        (N, 3) float64, in Å.
    numbers
        (N,) int64 atomic numbers.
    cell
        (3, 3) float64 lattice vectors as rows, in Å; zero in directions that are not periodic.
    pbc
        (3,) bool: which directions are periodic.
    num_electrons
        Electrons of the cell that the DOS counts, or None where they are unknown: only Fermi level and band energy
        need them.
    dos
        (count,) float64 states per eV of the whole cell on `grid`, or None where only a prediction is wanted.
    grid
        The energy bins of `dos`.
    structure
        Name of the structure that this is a snapshot of.
    temperature
        Temperature in K, if known.
    fermi_level, band_energy
        Values stored in the file, in eV (of the whole cell), if any. They are for comparison: the package
        computes its own from the DOS.
    source, index
        The file, and the place in it: every complaint names them.

    Raises
    ------
    InputError
        If positions, cell or DOS are not finite, of the wrong shape, or not there; if two atoms are closer than
        0.3 Å; if a periodic direction has no lattice vector; if the DOS has not as many values as the grid,
        is empty or holds fewer electrons than there are; or if a stored Fermi level is not where the DOS holds the
        electrons, by more than 0.15 eV (half a bin, if that is more) and 0.1
        electrons.
    """

    positions: NDArray[np.float64]
    numbers: NDArray[np.int64]
    cell: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    num_electrons: float | None = None
    dos: NDArray[np.float64] | None = None
    grid: EnergyGrid = PAPER_GRID
    structure: str = ""
    temperature: float | None = None
    fermi_level: float | None = None
    band_energy: float | None = None
    source: str = "snapshots"
    index: int = 0

    def __post_init__(self) -> None:
        numbers = np.asarray(self.numbers, dtype=np.int64)
        positions = np.asarray(self.positions)
        if numbers.ndim != 1 or len(numbers) == 0:
            raise InputError(f"{self.name} has no atoms; remove it.")
        if positions.shape != (len(numbers), 3):
            raise InputError(
                f"{self.name} has positions of shape {positions.shape} for {len(numbers)} atoms; give (atoms, 3)."
            )
        try:
            structure = checked_structure(positions, self.cell, self.pbc)
            check_distances(*structure)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
        for key, value in zip(("positions", "cell", "pbc"), structure, strict=True):
            object.__setattr__(self, key, value)
        object.__setattr__(self, "numbers", numbers)
        if self.num_electrons is not None and not 0 < self.num_electrons < np.inf:
            raise InputError(
                f"{self.name} has an electron count of {self.num_electrons:g}; give a positive num_electrons."
            )
        if self.dos is not None:
            object.__setattr__(self, "dos", self._checked_dos(self.dos))
            self._check_fermi_level()

    def _check_fermi_level(self) -> None:
        """Refuse a stored Fermi level at which the DOS holds another number of electrons.

        Semicore electrons, a charge, another zero of energy, or a count kept from another cell show up here.
        """
        level, electrons, edges = self.fermi_level, self.num_electrons, self.grid.edges
        if level is None or electrons is None or self.dos is None:
            return
        states = np.maximum.accumulate(np.append(0.0, np.cumsum(self.dos) * self.grid.width))
        found = float(np.interp(level, edges, states))
        # between these energies all electrons are there: the ends of a gap
        low, high = (
            _reached(states, edges, electrons - COUNT, "left"),
            _reached(states, edges, electrons + COUNT, "right"),
        )
        slack = max(LEVEL, self.grid.width / 2)  # within a bin the states are taken to be spread evenly
        if level > edges[-1] + slack:
            raise InputError(
                f"{self.name}: the stored Fermi level is {level:.4g} eV, above the end of the energy grid at "
                f"{edges[-1]:g} eV; DOS and level may have different zeros of energy: mend one, or end the grid later."
            )
        if abs(found - electrons) > COUNT and not low - slack <= level <= high + slack:
            raise InputError(
                f"{self.name}: the stored Fermi level is {level:.4g} eV, up to which the DOS holds {found:.6g} "
                f"electrons, and there are {electrons:.6g}; the DOS may count semicore electrons or have another zero "
                f"of energy, the count be that of another cell or charge: mend num_electrons, dos or fermi_level."
            )

    def _checked_dos(self, values: ArrayLike) -> NDArray[np.float64]:
        grid = self.grid
        dos = np.asarray(values)
        if dos.shape != (grid.count,):
            raise InputError(
                f"{self.name} has a DOS of shape {dos.shape}, but the energy grid has {grid.count} bins; give one "
                f"value per bin, or another grid."
            )
        if dos.dtype.kind not in "fiu":
            raise InputError(f"{self.name} has a DOS of {dos.dtype}; give real numbers.")
        dos = dos.astype(np.float64)
        if not np.isfinite(dos).all():
            place = int(np.argmin(np.isfinite(dos)))
            raise InputError(f"{self.name} has a DOS that is NaN or infinite in bin {place}; repair or remove it.")
        if not dos.any():
            raise InputError(f"{self.name}: the DOS is empty; widen the energy grid or check its alignment.")
        most = float(np.cumsum(dos).max()) * grid.width
        if self.num_electrons is not None and most < self.num_electrons * (1 - SHORTFALL):
            raise InputError(
                f"{self.name}: the DOS holds {most:.6g} electrons up to {grid.stop:g} eV, but there are "
                f"{self.num_electrons:.6g} electrons; widen the energy grid, check its alignment or num_electrons."
            )
        return dos

    @classmethod
    def of(cls, atoms: "Atoms", **facts: Any) -> "Snapshot":
        """Make a snapshot of ``ase.Atoms`` and of the other fields."""
        return cls(atoms.get_positions(), atoms.numbers, atoms.cell.array, atoms.pbc, **facts)

    def __repr__(self) -> str:
        """Show what it is, not the numbers."""
        named = f"{self.structure!r}, " if self.structure else ""
        return f"Snapshot({named}{self.num_atoms} atoms, {self.source!r}, index {self.index})"

    @property
    def name(self) -> str:
        """File and index, with which complaints begin."""
        return f"{self.source}: snapshot {self.index}"

    @property
    def num_atoms(self) -> int:
        """Number of atoms N."""
        return len(self.numbers)

    def environments(self, cutoff: float = CUTOFF, dtype: torch.dtype = torch.float32) -> Environments:
        """Find the neighbours of every atom within a cutoff, in Å; see `csgnn_dgl.mapping.find_environments`."""
        return find_environments(self.positions, self.cell, self.pbc, cutoff, dtype)


def _reached(
    states: NDArray[np.float64], edges: NDArray[np.float64], count: float, side: Literal["left", "right"]
) -> float:
    """Return the first or last energy at which ascending numbers of states at the edges reach a count."""
    place = int(np.searchsorted(states, count, side))
    if not 0 < place < len(states):
        return float(edges[min(place, len(edges) - 1)])
    share = (count - states[place - 1]) / (states[place] - states[place - 1])
    return float(edges[place - 1] + share * (edges[place] - edges[place - 1]))


@dataclass(frozen=True, eq=False, repr=False)
class Snapshots(Sequence[Snapshot]):
    """A set of snapshots on one energy grid.

    Parameters
    ----------
    items
        The snapshots, at least one.

    Raises
    ------
    InputError
        If there are none, or their energy grids differ.
    """

    items: tuple[Snapshot, ...]
    _environments: dict[tuple[float, torch.dtype], EnvironmentTable] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        if not self.items:
            raise InputError("there are no snapshots; give at least one.")
        for item in self.items:
            if item.grid != self.grid:
                raise InputError(f"{item.name} is on {item.grid}, others are on {self.grid}; read all on one grid.")

    def __len__(self) -> int:
        """Count the snapshots."""
        return len(self.items)

    def __iter__(self) -> Iterator[Snapshot]:
        """Go through the snapshots."""
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Snapshot: ...
    @overload
    def __getitem__(self, index: slice) -> "Snapshots": ...
    def __getitem__(self, index: int | slice) -> "Snapshot | Snapshots":
        """Return one snapshot, or those of a slice."""
        return Snapshots(self.items[index]) if isinstance(index, slice) else self.items[index]

    def __repr__(self) -> str:
        """Show the sizes and the structures."""
        names = ", ".join(sorted(set(self.structures)))
        return f"Snapshots({len(self)} of {names}, {int(self.num_atoms.sum())} atoms)"

    @property
    def grid(self) -> EnergyGrid:
        """The energy bins of all snapshots."""
        return self.items[0].grid

    @property
    def dos(self) -> NDArray[np.float64]:
        """(S, count) states per eV of each whole cell.

        Raises
        ------
        InputError
            If a snapshot has none.
        """
        for item in self.items:
            if item.dos is None:
                raise InputError(f"{item.name} has no DOS; put it into the file as 'dos'.")
        return np.stack([item.dos for item in self.items if item.dos is not None])

    @property
    def dos_per_atom(self) -> NDArray[np.float64]:
        """(S, count) states per eV and atom: `dos` divided by `num_atoms`."""
        return self.dos / self.num_atoms[:, None]

    @property
    def num_electrons(self) -> NDArray[np.float64]:
        """(S,) electrons of each cell.

        Raises
        ------
        InputError
            If those of a snapshot are unknown.
        """
        return np.array([known_electrons(item.num_electrons, item.name) for item in self.items], dtype=np.float64)

    @property
    def num_atoms(self) -> NDArray[np.int64]:
        """(S,) atoms of each cell."""
        return np.array([item.num_atoms for item in self.items], dtype=np.int64)

    @property
    def structures(self) -> tuple[str, ...]:
        """(S,) name of the structure of each snapshot."""
        return tuple(item.structure for item in self.items)

    def environments(
        self, cutoff: float = CUTOFF, dtype: torch.dtype = torch.float32, progress: bool = False
    ) -> EnvironmentTable:
        """Return the environments of the atoms of each snapshot, found at the first call and kept.

        Parameters
        ----------
        cutoff
            Cutoff radius in Å.
        dtype
            dtype of the vectors.
        progress
            Show a progress bar on stderr while the neighbours are searched.
        """
        if (cutoff, dtype) not in self._environments:
            shown = progress_bar(self.items, desc="neighbours", leave=False, disable=not progress)
            self._environments[cutoff, dtype] = EnvironmentTable(item.environments(cutoff, dtype) for item in shown)
        return self._environments[cutoff, dtype]

    def subset(self, indices: Iterable[int]) -> "Snapshots":
        """Return the snapshots at `indices`, in that order."""
        return Snapshots(tuple(self.items[int(index)] for index in indices))


def check_elements(snapshots: Iterable[Snapshot], known: Iterable[int]) -> None:
    """Refuse snapshots with elements that a model does not know.

    Parameters
    ----------
    snapshots
        Snapshots, of which the first with a foreign element is named.
    known
        Atomic numbers of the elements that may occur.

    Raises
    ------
    InputError
        If a snapshot has another element.
    """
    allowed = sorted(set(known))
    for item in snapshots:
        _check_numbers(item.numbers, allowed, item.name)


def _check_numbers(numbers: ArrayLike, known: Collection[int], name: str) -> None:
    from ase.data import chemical_symbols

    foreign = np.setdiff1d(numbers, sorted(known))
    if len(foreign):
        names = ", ".join(chemical_symbols[number] for number in sorted(known))
        raise InputError(
            f"{name} contains {chemical_symbols[int(foreign[0])]}, but the model knows {names} only; remove the "
            f"snapshot or train a model with this element."
        )


def _check_atomic_numbers(numbers: NDArray[np.int64], name: str) -> None:
    from ase.data import chemical_symbols

    wrong = numbers[(numbers < 0) | (numbers >= len(chemical_symbols))]
    if len(wrong):
        raise InputError(
            f"{name} has an atom of number {wrong[0]}; give atomic numbers from 1 to {len(chemical_symbols) - 1}."
        )


def known_electrons(count: float | None, name: str) -> float:
    """Return a number of electrons, or raise InputError, beginning with `name`, where it is None."""
    if count is None:
        raise InputError(
            f"{name} has no num_electrons, which Fermi level and band energy need, and no valences for all of its "
            f"elements; put num_electrons into the file or give valences."
        )
    return count


def electrons_of(numbers: ArrayLike, valences: Mapping[str, float] | None) -> float | None:
    """Add up the valence electrons of atoms (N,), given as atomic numbers; None if an element has no known valence.

    `valences`, electrons per atom by chemical symbol, go before :data:`VALENCES`.
    """
    from ase.data import chemical_symbols

    table = {**VALENCES, **(valences or {})}
    found = [table.get(chemical_symbols[number]) for number in np.asarray(numbers)]
    return None if None in found else float(sum(count for count in found if count is not None))


def from_atoms(
    atoms: "Atoms | Sequence[Atoms]",
    grid: EnergyGrid = PAPER_GRID,
    valences: Mapping[str, float] | None = None,
    needs_dos: bool = False,
    source: str = "atoms",
    elements: Collection[int] | None = None,
) -> Snapshots:
    """Make snapshots of ``ase.Atoms`` that carry their facts in ``info``.

    ``info`` may hold ``dos`` (states per eV of the whole cell, one value per bin), ``num_electrons``, ``charge``
    (elementary charges, which the valence electrons are diminished by), ``structure``, ``temperature`` (K, also as
    "300K"), ``fermi_level`` and ``band_energy``. Without ``structure`` the chemical formula is the name.

    Parameters
    ----------
    atoms
        One structure or several.
    grid
        The energy bins of ``dos``; the paper's by default.
    valences
        Electrons per atom by chemical symbol, for structures without ``num_electrons``; they go before
        :data:`VALENCES`. A ``num_electrons`` of up to half of what they add up to is refused.
    needs_dos
        Refuse structures without ``dos``. Otherwise only a prediction is wanted: what it does not need and cannot be
        used, such as a ``dos`` of another length, is passed over, and told in a note.
    source
        Where they come from; every complaint starts with it.
    elements
        Atomic numbers that are known; a structure with others is refused before anything else is asked of it.

    Returns
    -------
    Snapshots
        In the order given.

    Raises
    ------
    InputError
        If a structure cannot be used; see :class:`Snapshot`.
    """
    from ase import Atoms

    several = [atoms] if isinstance(atoms, Atoms) else atoms
    for index, one in enumerate(several if elements is not None else ()):
        _check_numbers(one.numbers, elements or (), f"{source}: snapshot {index}")
    return Snapshots(tuple(_snapshot(one, grid, valences, needs_dos, source, i) for i, one in enumerate(several)))


def _snapshot(
    atoms: "Atoms",
    grid: EnergyGrid,
    valences: Mapping[str, float] | None,
    needs_dos: bool,
    source: str,
    index: int,
) -> Snapshot:
    info, name = atoms.info, f"{source}: snapshot {index}"
    if needs_dos and "dos" not in info:
        raise InputError(f"{name} has no 'dos' in its info; add the density of states, one value per energy bin.")
    if len(atoms) == 0:
        raise InputError(f"{name} has no atoms; remove it.")
    check_occupancy(atoms, name)
    _check_atomic_numbers(atoms.numbers, name)
    electrons = expected = electrons_of(atoms.numbers, valences)
    charge = _number(info, "charge", name) if "charge" in info else 0.0
    if expected is not None and charge:
        electrons = expected - charge
    if charge and "num_electrons" in info and _number(info, "num_electrons", name) == expected:
        raise InputError(
            f"{name} has charge = {charge:g} and num_electrons = {expected:g}, that of the neutral cell; mend one of "
            f"them."
        )
    if "num_electrons" in info:
        electrons = _number(info, "num_electrons", name)
        if expected is not None and 0 < electrons <= FEWEST * expected:  # as ase repeats atoms
            raise InputError(
                f"{name} has num_electrons = {electrons:g}, but its {len(atoms)} atoms have {expected:g} valence "
                f"electrons; repeating atoms with ase keeps the number and the dos of the smaller cell: set both for "
                f"the whole cell or remove them, or give valences."
            )
    facts = {"structure": str(info.get("structure", atoms.get_chemical_formula())), "source": source, "index": index}
    whole: dict[str, Any] = {"grid": grid, "num_electrons": electrons, **facts}
    try:
        extra = {key: _number(info, key, name) for key in ("temperature", "fermi_level", "band_energy") if key in info}
        return Snapshot.of(atoms, dos=info.get("dos"), **extra, **whole)
    except InputError as error:
        if needs_dos or not {"dos", "temperature", "fermi_level", "band_energy"} & info.keys():
            raise
        bare = Snapshot.of(atoms, **whole)  # what is wrong with the atoms is raised here
        note(source, f"what the prediction does not need is passed over ({str(error).removeprefix(name).lstrip(': ')})")
        return bare


def check_occupancy(atoms: "Atoms", name: str) -> None:
    """Refuse sites that are partly occupied or shared by elements, of which ase keeps one whole atom.

    Raises
    ------
    InputError
        If there are any, or a share is no number; it begins with `name`.
    """
    sites = atoms.info.get("occupancy")
    for site in sites.values() if isinstance(sites, Mapping) else ():
        if not isinstance(site, Mapping):
            continue
        shares = {
            element: 1.0
            if share == "."
            else _number(site, element, f"{name}: the occupancy of a site")  # CIF's default
            for element, share in site.items()
        }
        if len(site) > 1 or any(share < 0.999 for share in shares.values()):
            shown = ", ".join(f"{element} {share:g}" for element, share in shares.items())
            raise InputError(f"{name} has a site of partial occupancy ({shown}); give an ordered structure.")


def _number(info: Mapping[str, object], key: str, name: str) -> float:
    value = info[key]
    if key == "temperature" and isinstance(value, str):
        value = re.sub(r"\s*K\s*\Z", "", value)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"{name} has {key} = {repr(info[key])[:80]}; give a number.") from None
