"""How far predicted DOS are from what physics asks: the same for any orientation, order of atoms and periodic cell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from csgnn_dgl.data import Snapshot, Snapshots, check_elements
from csgnn_dgl.electronic import fermi_level
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosahedral_rotations, random_rotations
from csgnn_dgl.geometry.rotations import rotations_about
from csgnn_dgl.models import DOSModel
from csgnn_dgl.symmetry import ANGLES
from csgnn_dgl.tasks.dos.evaluation import band_energies_per_atom, predict

ANY_ROTATION, ICOSAHEDRAL = "any rotation", "60 icosahedral rotations"
PERMUTED, REPEATED = "atoms in another order", "doubled cell"


@dataclasses.dataclass(frozen=True)
class Change:
    """How much the predictions for snapshots and for transformed copies of them differ.

    Means and largest values are over all copies of all snapshots. Fermi level and band energy of both come from their
    DOS by the same functions.

    Attributes
    ----------
    name
        The transformation.
    num_copies
        Copies compared, each with the snapshot it was made of.
    dos_per_atom, largest_dos_per_atom
        Relative change ‖D(x') - D(x)‖ / ‖D(x)‖ of the DOS D per atom, summed over the energy bins.
    band_energy_per_atom, largest_band_energy_per_atom
        Absolute change of the band energy (Eq. 4), in eV/atom.
    fermi_level, largest_fermi_level
        Absolute change of the Fermi level, in eV.
    """

    name: str
    num_copies: int
    dos_per_atom: float
    largest_dos_per_atom: float
    band_energy_per_atom: float
    largest_band_energy_per_atom: float
    fermi_level: float
    largest_fermi_level: float


@dataclasses.dataclass(frozen=True)
class Invariance:
    """What `measure_invariance` found.

    Attributes
    ----------
    num_snapshots
        Snapshots that copies were made of.
    angles
        (A,) rotation angles in degrees.
    rotated
        (A,) changes under rotations by these angles about random axes.
    any_rotation
        Change under rotations that are uniform on SO(3).
    icosahedral
        Change under the 60 rotations of the icosahedron.
    permuted
        Change under a random order of the atoms.
    repeated
        Change when the periodic cell is doubled in its first periodic direction; None where no snapshot is periodic.
    """

    num_snapshots: int
    angles: tuple[float, ...]
    rotated: tuple[Change, ...]
    any_rotation: Change
    icosahedral: Change
    permuted: Change
    repeated: Change | None

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes that were measured, the rotations first."""
        last = () if self.repeated is None else (self.repeated,)
        return (*self.rotated, self.any_rotation, self.icosahedral, self.permuted, *last)


def measure_invariance(
    network: DOSModel,
    snapshots: Snapshots,
    angles: Sequence[float] = ANGLES[1:],
    axes_per_angle: int = 2,
    num_snapshots: int = 16,
    seed: int = 0,
) -> Invariance:
    """Measure how much the predicted DOS changes under transformations that leave the true one as it is.

    Every copy of a snapshot is made by moving its atoms and its cell, and predicted from the search for neighbours on.
    What a network predicts in float32 changes in its last digits under exact symmetries too; one of float64
    (``network.double()``) tells these from small errors.

    Parameters
    ----------
    network
        The model, on any device; it is switched to evaluation mode for the measurement.
    snapshots
        Snapshots, with or without DOS, on the network's energy bins.
    angles
        Angles in degrees.
    axes_per_angle
        Random axes of each snapshot at each angle, uniform on the sphere; and its rotations that are uniform on SO(3).
    num_snapshots
        Snapshots to measure, evenly spaced over `snapshots`; all where there are no more.
    seed
        Seed of the axes, rotations and orders.

    Returns
    -------
    Invariance
        Means and largest changes.

    Raises
    ------
    InputError
        If a snapshot has an element that the model does not know, or a predicted DOS is empty or not finite.
    """
    check_elements(snapshots, network.elements)
    count = min(num_snapshots, len(snapshots))
    chosen = snapshots.subset(np.arange(count) * len(snapshots) // count)
    rng = np.random.default_rng(seed)
    found: dict[str, list[NDArray[np.float64]]] = {}
    was_training = network.training
    network.eval()
    for item in chosen:
        copies = _copies(item, angles, axes_per_angle, rng)
        differences = _differences(network, Snapshots((item, *(copy for group in copies.values() for copy in group))))
        ends = np.cumsum([len(group) for group in copies.values()])[:-1]
        for name, part in zip(copies, np.split(differences, ends), strict=True):
            found.setdefault(name, []).append(part)
    network.train(was_training)
    changes = {name: _change(name, np.concatenate(parts)) for name, parts in found.items()}
    return Invariance(
        num_snapshots=count,
        angles=tuple(float(angle) for angle in angles),
        rotated=tuple(changes[_by(angle)] for angle in angles),
        any_rotation=changes[ANY_ROTATION],
        icosahedral=changes[ICOSAHEDRAL],
        permuted=changes[PERMUTED],
        repeated=changes.get(REPEATED),
    )


def rotated(item: Snapshot, rotation: NDArray[np.float64]) -> Snapshot:
    """Return a snapshot without DOS whose atoms and cell are turned by a matrix (3, 3)."""
    return dataclasses.replace(item, positions=item.positions @ rotation.T, cell=item.cell @ rotation.T, dos=None)


def permuted(item: Snapshot, order: NDArray[np.int64]) -> Snapshot:
    """Return a snapshot without DOS whose atoms are in another order (N,)."""
    return dataclasses.replace(item, positions=item.positions[order], numbers=item.numbers[order], dos=None)


def repeated(item: Snapshot, direction: int) -> Snapshot:
    """Return a snapshot without DOS of two cells, which follow each other in a periodic direction (0, 1 or 2)."""
    cell = item.cell.copy()
    cell[direction] *= 2
    return dataclasses.replace(
        item,
        positions=np.concatenate([item.positions, item.positions + item.cell[direction]]),
        numbers=np.concatenate([item.numbers, item.numbers]),
        cell=cell,
        num_electrons=None if item.num_electrons is None else 2 * item.num_electrons,
        dos=None,
    )


def _copies(
    item: Snapshot, angles: Sequence[float], axes_per_angle: int, rng: np.random.Generator
) -> Mapping[str, list[Snapshot]]:
    """Make the copies of one snapshot, by the names of their transformations."""
    turns = {_by(angle): rotations_about(rng.normal(size=(axes_per_angle, 3)), np.deg2rad(angle)) for angle in angles}
    turns |= {ANY_ROTATION: random_rotations(axes_per_angle, rng), ICOSAHEDRAL: icosahedral_rotations()}
    copies = {name: [rotated(item, turn) for turn in group] for name, group in turns.items()}
    copies[PERMUTED] = [permuted(item, rng.permutation(item.num_atoms))]
    if item.pbc.any():
        copies[REPEATED] = [repeated(item, int(np.argmax(item.pbc)))]
    return copies


def _differences(network: DOSModel, snapshots: Snapshots) -> NDArray[np.float64]:
    """Compare the predictions for all but the first snapshot with that: (S - 1, 3) changes, as in `Change`."""
    dos = predict("", network, snapshots).dos_per_atom.double()
    norm = dos[0].norm()
    if not (dos.isfinite().all() and norm > 0):
        raise InputError(
            f"{snapshots[0].name}: the predicted DOS is empty or not finite, so nothing can be said of its invariance; "
            "train the model for longer"
        )
    relative = (dos - dos[0]).norm(dim=1) / norm
    energies = band_energies_per_atom(dos, snapshots)
    electrons = torch.from_numpy(snapshots.num_electrons / snapshots.num_atoms)
    levels = fermi_level(dos, electrons, snapshots.grid, too_few="top").numpy()
    return np.stack([relative.numpy(), abs(energies - energies[0]), abs(levels - levels[0])], axis=1)[1:]


def _change(name: str, differences: NDArray[np.float64]) -> Change:
    pairs = np.stack([differences.mean(axis=0), differences.max(axis=0)], axis=1)
    return Change(name, len(differences), *pairs.ravel().tolist())


def _by(angle: float) -> str:
    return f"rotation by {angle:g}°"
