"""Structures as people have them: ``ase.Atoms``, pymatgen's, and files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from csgnn_dgl.data import Snapshot, Snapshots, from_atoms, read_structures
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.tasks.dos.trained import TrainedDOS

if TYPE_CHECKING:
    from ase import Atoms

Path = str | os.PathLike[str]


class Convertible(Protocol):
    """A structure that turns into ``ase.Atoms``, as pymatgen's do."""

    def to_ase_atoms(self) -> Atoms:
        """Return the atoms."""


ACCEPTED = "give ase.Atoms, a pymatgen Structure or Molecule, the path of a file, or a list of these"


def is_structure(thing: Any) -> bool:
    """Whether this is one structure in memory: ``ase.Atoms``, or what turns into them as pymatgen's structures do."""
    return hasattr(thing, "get_positions") or hasattr(thing, "to_ase_atoms")


def structures_of(
    given: Any, model: TrainedDOS, valences: Mapping[str, float] | None = None, offset: float = 0.0
) -> Snapshots:
    """Make snapshots for a model of structures in memory or of the files at some paths.

    Parameters
    ----------
    given
        One structure or path, or several of either kind. Of a file all structures are taken.
    model
        The model that is to predict: its elements and energy bins.
    valences
        Electrons per atom by chemical symbol, where the structures do not tell their number; by default the model's.
    offset
        Added to the energies of a DOS of VASP's, in eV.

    Raises
    ------
    InputError
        If there is something else, or a structure cannot be used.
    """
    told = valences or model.valences
    elements = model.network.elements
    items = _listed(given)
    if all(isinstance(item, (str, os.PathLike)) for item in items):
        found: list[Snapshot] = []
        for path in items:
            found += read_structures(path, model.grid, told, offset, elements)
        return Snapshots(tuple(found))
    several = [_atoms(item, place) for place, item in enumerate(items)]
    return from_atoms(several, model.grid, told, elements=elements)


def _listed(given: Any) -> list[Any]:
    if isinstance(given, (str, os.PathLike)) or is_structure(given):
        return [given]
    if not isinstance(given, Iterable) or isinstance(given, (bytes, Mapping)):
        raise InputError(f"atoms is {_shown(given)}; {ACCEPTED}")
    items = list(given)
    if not items:
        raise InputError("atoms is an empty list; give at least one structure")
    return items


def _atoms(item: Any, place: int) -> Atoms:
    """Return a structure in memory as ``ase.Atoms``."""
    if not is_structure(item):
        mixed = "structures and paths cannot be mixed" if isinstance(item, (str, os.PathLike)) else ACCEPTED
        raise InputError(f"atoms: snapshot {place} is {_shown(item)}; {mixed}")
    if hasattr(item, "get_positions"):
        return item
    try:
        atoms = item.to_ase_atoms()
    except Exception as error:  # sites of several elements, above all; but this is another library's
        raise InputError(f"atoms: snapshot {place} cannot be made ase.Atoms ({reason(error)}); mend it") from error
    charge = getattr(item, "charge", None)
    if charge:  # which ase.Atoms have no place for
        atoms.info.setdefault("charge", float(charge))
    return atoms


def _shown(thing: Any) -> str:
    text = repr(thing)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(thing).__name__}"
