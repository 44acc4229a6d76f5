"""The search for neighbours: a cell list in compiled code, and a tree for what would be mostly empty boxes."""

import itertools

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError

Array = NDArray[np.float64]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], Array]
"""Centre (E,) and neighbour (E,) of each pair, sorted by centre, and the vector (E, 3) from one to the other."""

LARGEST = 1e8
"""Positions and lattice vectors beyond this, in Å, are taken for a mistake in the unit; a centimetre."""

MOST_PAIRS = 200_000_000
"""Pairs that are expected to fit into memory: 8 GB."""

MOST_BOXES = 1_000_000
"""Boxes of the edge of the cutoff, most of them empty, from which on a tree is quicker than a cell list."""

MOST_IMAGES = 2_000
"""Images of the cell, along its own lattice vectors, from which on other vectors of the same lattice are quicker."""


def neighbours(points: Array, lattice: Array, periodic: NDArray[np.bool_], cutoff: float) -> Pairs:
    """Return all pairs of atoms, and of atoms and images of atoms, up to a cutoff.

    Parameters
    ----------
    points
        (N, 3) positions in Å.
    lattice
        (3, 3) lattice vectors as rows, in Å; zero in directions that are not periodic.
    periodic
        (3,) which directions are periodic.
    cutoff
        In Å.

    Raises
    ------
    InputError
        If there would be too many pairs.
    """
    _check_pairs(points, lattice, periodic, cutoff)
    heights, boxes = _extent(points, lattice, periodic, cutoff)
    images = np.prod(2 * np.ceil(cutoff / heights) + 1)
    if boxes > MOST_BOXES or images > MOST_IMAGES:
        return _by_tree(points, lattice, periodic, cutoff)
    from vesin import NeighborList  # here, because it imports ase, which takes its time

    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    first, second, vectors = search.compute(points=points, box=lattice, periodic=periodic, quantities="ijD")
    return first.astype(np.int64), second.astype(np.int64), vectors


def _extent(points: Array, lattice: Array, periodic: NDArray[np.bool_], cutoff: float) -> tuple[Array, float]:
    """Return the distances between opposite sides of the cell, and how many boxes hold all atoms."""
    vectors = lattice[periodic]
    if not len(vectors):
        return np.full(1, np.inf), float(np.prod(np.ptp(points, axis=0) / cutoff + 1))
    inverse = np.linalg.pinv(vectors)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    free = points - points @ inverse @ vectors  # what lies across the periodic directions
    across = np.linalg.norm(np.ptp(free, axis=0))
    return heights, float(np.prod(heights / cutoff + 1) * (across / cutoff + 1) ** (3 - len(vectors)))


def _check_pairs(points: Array, lattice: Array, periodic: NDArray[np.bool_], cutoff: float) -> None:
    """Refuse what would fill the memory: by the mean density of a cell, and by boxes of the edge of the cutoff."""
    volume = np.sqrt(np.linalg.det(lattice[periodic] @ lattice[periodic].T)) if periodic.any() else np.inf
    expected = len(points) ** 2 / volume * 4.2 * cutoff ** int(periodic.sum())
    _, counts = np.unique(np.floor(points / cutoff), axis=0, return_counts=True)
    if max(expected, float((counts.astype(np.float64) ** 2).sum())) > MOST_PAIRS:
        raise InputError(
            f"{len(points)} atoms are too close together to list their neighbours within {cutoff:.3g} Å; give lengths "
            f"in Å, or fewer atoms."
        )


def _by_tree(points: Array, lattice: Array, periodic: NDArray[np.bool_], cutoff: float) -> Pairs:
    """Find the pairs with a tree over the atoms and those of their images that lie near the cell."""
    from ase.geometry.minkowski_reduction import minkowski_reduce
    from scipy.spatial import cKDTree

    reduced = minkowski_reduce(lattice, periodic)[0][periodic] if periodic.any() else lattice[periodic]
    inverse = np.linalg.pinv(reduced) if len(reduced) else np.zeros((3, 0))
    wrapped = np.floor(points @ inverse)  # (N, P): by how many lattice vectors each atom is moved into the cell
    inside = points - wrapped @ reduced
    low, high = inside.min(axis=0) - cutoff, inside.max(axis=0) + cutoff
    reach = np.ceil(cutoff * np.linalg.norm(inverse, axis=0)).astype(int)
    atoms, moves = [], []
    for shift in itertools.product(*(range(-steps, steps + 1) for steps in reach)):
        moved = inside + np.array(shift, dtype=np.float64) @ reduced
        near = np.flatnonzero(((moved >= low) & (moved <= high)).all(axis=1))
        atoms.append(near)
        moves.append(np.broadcast_to(np.array(shift, dtype=np.float64), (len(near), len(reach))))
    atom, move = np.concatenate(atoms), np.concatenate(moves)
    found = cKDTree(inside[atom] + move @ reduced).query_ball_point(inside, cutoff, return_sorted=True)
    centre = np.repeat(np.arange(len(points)), [len(one) for one in found])
    image = np.concatenate([np.asarray(one, dtype=np.int64) for one in found])
    other = (atom[image] != centre) | (move[image] != 0).any(axis=1)
    centre, image = centre[other], image[other]
    neighbour = atom[image]
    steps = move[image] + wrapped[centre] - wrapped[neighbour]
    return centre.astype(np.int64), neighbour.astype(np.int64), points[neighbour] - points[centre] + steps @ reduced
