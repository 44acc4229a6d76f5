"""Atomic snapshots with their energies and forces."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from csgnn_dgl.data.atoms.records import Snapshots, from_atoms
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.data.atoms.tersoff import REACH, tersoff_energies
from csgnn_dgl.data.splits import SPLITS, check_split
from csgnn_dgl.data.text import check_name
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.forces import forces_of

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)
class EnergySnapshots:
    """Snapshots with energies.

    Parameters
    ----------
    snapshots
        S snapshots.
    energies
        (S,) float64 energies of the whole cells, in eV.
    forces
        The forces on the atoms of each, (N, 3) float64 in eV/Å, or None where they are unknown.
    """

    snapshots: Snapshots
    energies: NDArray[np.float64]
    forces: Sequence[NDArray[np.float64] | None]

    def __len__(self) -> int:
        """Count the snapshots."""
        return len(self.snapshots)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers of the elements that there are, ascending."""
        return tuple(np.unique(np.concatenate([item.numbers for item in self.snapshots])).tolist())

    def subset(self, indices: Iterable[int]) -> "EnergySnapshots":
        """Return the snapshots at `indices`, in that order."""
        places = [int(index) for index in indices]
        return EnergySnapshots(
            self.snapshots.subset(places), self.energies[places], [self.forces[place] for place in places]
        )


def load_energies(source: str | os.PathLike[str], split: str, share: float = 1.0) -> EnergySnapshots:
    """Load one split of a set of snapshots with energies.

    Parameters
    ----------
    source
        ``"builtin"`` for the built-in carbon allotropes with energies and forces of Tersoff's potential, which are
        computed here; or a folder with files ``train``, ``val`` and ``test`` of a kind that ase reads, such as
        ``train.extxyz`` or ``train.traj``, with energies and, if there are any, forces.
    split
        ``"train"``, ``"val"`` or ``"test"``.
    share
        Share of the snapshots to take, evenly spaced.

    Raises
    ------
    InputError
        If there is no such source, it cannot be read, or a snapshot has no energy.
    """
    from csgnn_dgl.data.atoms.carbon import carbon_snapshots

    check_split(split, SPLITS, source)
    if str(source) == "builtin":
        return with_tersoff(_some(carbon_snapshots(split), share))
    folder = Path(source).expanduser()
    check_name(folder)
    found = sorted(folder.glob(f"{split}.*")) if folder.is_dir() else []
    if len(found) != 1:
        there = " and ".join(path.name for path in found) or "nothing of the kind"
        raise InputError(
            f"{folder}: one file {split}.extxyz, or {split} of another kind that ase reads, is wanted and {there} is "
            "there; give 'builtin', or a folder with one file for each of train, val and test."
        )
    atoms = read_atoms(found[0])
    return _some(with_energies(atoms, str(found[0])), share)


def _some(items: Any, share: float) -> Any:
    count = max(round(share * len(items)), 1)
    return items.subset((np.arange(count) * len(items) // count).tolist())


def bare_structures(
    atoms: "Sequence[Atoms]", source: str = "atoms", elements: Collection[int] | None = None
) -> Snapshots:
    """Return snapshots of ``ase.Atoms`` without electrons and DOS, which energies do not need, so that none is refused.

    Parameters, results and errors are those of :func:`csgnn_dgl.data.from_atoms`.
    """
    kept = {"structure", "occupancy"}
    bare = [one.copy() for one in atoms]
    for one in bare:
        one.info = {key: value for key, value in one.info.items() if key in kept}
    return from_atoms(bare, source=source, elements=elements)


def with_energies(atoms: "Sequence[Atoms]", source: str = "atoms") -> EnergySnapshots:
    """Return snapshots of ``ase.Atoms`` with the energies and forces of their calculators, as ase's readers set them.

    Parameters
    ----------
    atoms
        The structures.
    source
        Where they come from, for messages.

    Raises
    ------
    InputError
        If a structure cannot be used, or its energy is missing, or energy or forces are not finite.
    """
    snapshots = bare_structures(atoms, source)
    energies, forces = [], []
    for one, item in zip(atoms, snapshots, strict=True):
        known = {} if one.calc is None else one.calc.results
        energy, own = known.get("energy"), known.get("forces")
        if energy is None:
            raise InputError(f"{item.name} has no energy; add it as 'energy' in eV, as ase writes it.")
        if not np.isfinite(energy) or (own is not None and not np.isfinite(own).all()):
            raise InputError(f"{item.name} has an energy or forces that are NaN or infinite; repair or remove it.")
        energies.append(float(energy))
        forces.append(None if own is None else np.asarray(own, dtype=np.float64))
    return EnergySnapshots(snapshots, np.array(energies), forces)


def with_tersoff(snapshots: Snapshots) -> EnergySnapshots:
    """Return carbon snapshots with the energies and forces of Tersoff's potential."""
    energies, forces = [], []
    for item in snapshots:
        environments = item.environments(REACH, torch.float64)
        environments = replace(environments, vectors=environments.vectors.requires_grad_())
        energy = tersoff_energies(environments).sum()
        energies.append(float(energy.detach()))
        forces.append(forces_of(energy, environments).numpy())
    return EnergySnapshots(snapshots, np.array(energies), forces)
