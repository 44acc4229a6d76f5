"""Atomic environments: the vectors from each atom to its neighbours within a cutoff (Sec. 4.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.search import LARGEST, neighbours

CUTOFF = 7.0
"""The paper's cutoff radius, in Å."""

CUTOFF_SLACK = 1e-6
"""Neighbours up to this much beyond the cutoff, in Å, belong to it: rounding must not decide in a crystal."""

SMALLEST_DISTANCE = 0.3
"""Atoms closer than this, in Å, are taken for a mistake; the shortest bond there is, of H2, has 0.74 Å."""

CROWD = SMALLEST_DISTANCE / 2
"""Edge, in Å, of boxes whose diagonal is shorter than `SMALLEST_DISTANCE`."""

MOST_NEIGHBOURS = 100_000
"""An atom with more neighbours is taken for a mistake in the unit of length."""


@dataclass(frozen=True, eq=False, repr=False)
class Environments:
    """The environments of N atoms as flat arrays of E neighbours, in the order of their centres.

    Attributes
    ----------
    vectors
        (E, 3) from the centre to the neighbour, in Å.
    centre
        (E,) int64, ascending: the atom, 0 to N - 1, whose neighbour this is.
    neighbour
        (E,) int64: the atom, 0 to N - 1, that the neighbour is a periodic image of.
    num_environments
        Number of atoms N, those without neighbours included.
    """

    vectors: Tensor
    centre: Tensor
    neighbour: Tensor
    num_environments: int

    def __len__(self) -> int:
        """Count the environments."""
        return self.num_environments

    def __repr__(self) -> str:
        """Show the sizes, not the vectors."""
        return f"Environments({self.num_environments} atoms, {len(self.vectors)} neighbours)"

    def chunk(self, start: int, stop: int) -> "Environments":
        """Return the environments of the atoms `start` to `stop` - 1; `neighbour` still counts all atoms."""
        stop = min(stop, self.num_environments)
        first, last = torch.searchsorted(self.centre, self.centre.new_tensor([start, stop])).tolist()
        centre = self.centre[first:last] - start
        return Environments(self.vectors[first:last], centre, self.neighbour[first:last], stop - start)

    def rotated(self, rotation: Tensor) -> "Environments":
        """Return the environments rotated by a matrix (3, 3): each vector v becomes R v."""
        vectors = self.vectors @ rotation.to(self.vectors).T
        return Environments(vectors, self.centre, self.neighbour, self.num_environments)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Environments":
        """Return the environments on another device, the vectors with another dtype."""
        return Environments(
            self.vectors.to(device=device, dtype=dtype),
            self.centre.to(device=device),
            self.neighbour.to(device=device),
            self.num_environments,
        )

    @staticmethod
    def join(parts: Sequence["Environments"]) -> "Environments":
        """Return the environments of several structures as one batch, counting the atoms on."""
        starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        return Environments(
            torch.cat([part.vectors for part in parts]),
            torch.cat([part.centre + start for part, start in zip(parts, starts, strict=False)]),
            torch.cat([part.neighbour + start for part, start in zip(parts, starts, strict=False)]),
            starts[-1],
        )


def find_environments(
    positions: ArrayLike,
    cell: ArrayLike | None = None,
    pbc: bool | ArrayLike = False,
    cutoff: float = CUTOFF,
    dtype: torch.dtype = torch.float32,
) -> Environments:
    """Find the neighbours of every atom within a cutoff, periodic images included.

    Neighbours are all atoms and images of atoms at distances of up to `cutoff` (by at most 1e-6 Å more), the
    images of an atom itself included, the atom itself excluded. The cell may be of any shape, and smaller
    than the cutoff. The search is vesin's (a cell list in compiled code), or where that would have far more boxes than
    atoms, a tree.

    Parameters
    ----------
    positions
        (N, 3) positions in Å, inside the cell or not.
    cell
        (3, 3) lattice vectors as rows, in Å. Those of directions that are not periodic are ignored.
    pbc
        Which of the three directions are periodic.
    cutoff
        Cutoff radius in Å.
    dtype
        dtype of the vectors, which are computed in float64.

    Returns
    -------
    Environments
        On the CPU.

    Raises
    ------
    InputError
        If a number is not finite or beyond 1e8 Å, a periodic direction has no lattice vector, the periodic lattice
        vectors lie in a plane or line, two atoms (or images) are closer than 0.3 Å, or there are too many pairs.
    ValueError
        If a shape is wrong or the cutoff not positive.
    """
    if not (np.isfinite(cutoff) and cutoff > SMALLEST_DISTANCE):
        raise ValueError(f"cutoff must be a length above {SMALLEST_DISTANCE} Å, not {cutoff!r}")
    points, vectors, periodic = checked_structure(positions, cell, pbc)
    _check_crowds(points)
    centre, neighbour, found = neighbours(points, vectors, periodic, cutoff + CUTOFF_SLACK)
    _check_distances(centre, neighbour, found)
    return Environments(
        torch.from_numpy(found).to(dtype), torch.from_numpy(centre), torch.from_numpy(neighbour), len(points)
    )


def checked_structure(
    positions: ArrayLike, cell: ArrayLike | None, pbc: bool | ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return positions (N, 3), cell (3, 3) and periodic flags (3,), or say why they make no structure.

    Arguments and errors are those of :func:`find_environments`. Lattice vectors of directions that are not periodic
    become zero. Distances are not looked at; see :func:`check_distances`.
    """
    points = np.ascontiguousarray(positions, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise ValueError(f"positions must have the shape (atoms, 3) with at least one atom, not {points.shape}")
    periodic = np.array(np.broadcast_to(np.asarray(pbc, dtype=bool), 3))
    lattice = np.zeros((3, 3)) if cell is None else np.array(cell, dtype=np.float64)
    if lattice.shape != (3, 3):
        raise ValueError(f"cell must have the shape (3, 3), not {lattice.shape}")
    lattice[~periodic] = 0
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise InputError(f"atom {np.argmin(finite)} has a coordinate that is NaN or infinite; remove or repair it.")
    if not np.isfinite(lattice).all():
        raise InputError("the cell has a number that is NaN or infinite; repair it.")
    for what, found in (("atom", points), ("lattice vector", lattice)):
        largest = np.abs(found).max(axis=1)
        if largest.max() > LARGEST:
            raise InputError(
                f"{what} {np.argmax(largest)} has a coordinate of {largest.max():.3g} Å, beyond {LARGEST:g}; give "
                f"lengths in Å."
            )
    lengths = np.linalg.norm(lattice, axis=1)
    if (lengths[periodic] == 0).any():
        missing = "abc"[int(np.argmax(periodic & (lengths == 0)))]
        raise InputError(
            f"direction {missing} is flagged as periodic but the cell has no lattice vector for it; give the cell, or "
            f"switch the flag off."
        )
    spanned = lattice[periodic] / lengths[periodic, None]
    if periodic.any() and np.linalg.svd(spanned, compute_uv=False)[-1] < 1e-6:
        raise InputError("the periodic lattice vectors are parallel or lie in one plane; repair the cell.")
    _check_density(points, lattice, periodic)
    return points, lattice, periodic


def check_distances(points: NDArray[np.float64], lattice: NDArray[np.float64], periodic: NDArray[np.bool_]) -> None:
    """Raise InputError if two atoms, or an atom and its periodic image, are closer than 0.3 Å.

    The arguments are what :func:`checked_structure` returns.
    """
    _check_crowds(points)
    # Within 0.3 Å alone the search would fill the cell with millions of boxes.
    _check_distances(*neighbours(points, lattice, periodic, cutoff=2.0))


def _check_density(points: NDArray[np.float64], lattice: NDArray[np.float64], periodic: NDArray[np.bool_]) -> None:
    """Refuse cells that are too small to hold an atom, before their images fill the memory."""
    if not periodic.any():
        return
    # The shortest of the distances between opposite sides of the cell: images of an atom are no closer.
    spacing = 1 / np.linalg.norm(np.linalg.pinv(lattice[periodic]), axis=0).max()
    if spacing < SMALLEST_DISTANCE / 10:
        raise InputError(f"the cell is only {spacing:.3g} Å thick; give lengths in Å.")
    volume = np.sqrt(np.linalg.det(lattice[periodic] @ lattice[periodic].T))
    if len(points) / volume * 4.2 * CUTOFF ** int(periodic.sum()) > MOST_NEIGHBOURS:
        raise InputError(f"{len(points)} atoms in a cell of only {volume:.3g} Å^{int(periodic.sum())}; use Å.")


def _check_crowds(points: NDArray[np.float64]) -> None:
    """Refuse atoms that share a box in which no two have room, before crowds of them fill the memory with pairs."""
    _, place, counts = np.unique(np.floor(points / CROWD), axis=0, return_inverse=True, return_counts=True)
    if counts.max() > 1:
        first, second = np.flatnonzero(place.ravel() == np.argmax(counts))[:2]
        gap = (points[second] - points[first])[None]
        _check_distances(np.array([first]), np.array([second]), gap)


def _check_distances(centre: NDArray[np.int64], neighbour: NDArray[np.int64], vectors: NDArray[np.float64]) -> None:
    """Refuse pairs of atoms that are too close."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if len(squares) and squares.min() < SMALLEST_DISTANCE**2:
        pair = int(squares.argmin())
        first, second = sorted((int(centre[pair]), int(neighbour[pair])))
        whom = f"atoms {first} and {second} are" if first != second else f"atom {first} and its periodic image are"
        distance = np.sqrt(squares[pair])
        raise InputError(f"{whom} only {distance:.3g} Å apart; remove one of them, or give lengths in Å.")
