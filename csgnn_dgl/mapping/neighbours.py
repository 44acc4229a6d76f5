"""What the mappings of atomic environments share (Sec. 4.2)."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.base import _zeros
from csgnn_dgl.mapping.environments import CUTOFF, Environments
from csgnn_dgl.mapping.location import TriangleLocator
from csgnn_dgl.mapping.tables import TableModule

Shells = Literal["published", "uniform"]
INNER_RADIUS: dict[str, float] = {"published": 1.0, "uniform": 0.0}
"""Radius in Å at which the shells of each kind begin."""


class Spread(NamedTuple):
    """K contributions of neighbours to the grid, all (K,): whose, to which vertex and shell, what share of its 1/d."""

    neighbour: Tensor
    vertex: Tensor
    shell: Tensor
    share: Tensor


class NeighbourMapping(TableModule, ABC):
    r"""Map atomic environments to features on the grid (Sec. 4.2 of the paper).

    The R' = R·C shells are equal intervals of the radii r₀ to the cutoff: shell s is

    .. math:: r_0 + s \Delta < d \le r_0 + (s + 1) \Delta, \quad \Delta = (r_{cut} - r_0) / R'.

    The subclasses say what a neighbour at the distance d from the centre adds to which vertices and shells. Shells i·C
    to i·C + C - 1 become the C channels of sphere i, inner to outer.

    The features of an environment rotated by one of the 60 icosahedral rotations are the permuted features of the
    environment. They are the same bits in every run on a CPU; on CUDA the order of the sums is not, unless
    ``torch.use_deterministic_algorithms(True)`` is on.

    Parameters
    ----------
    level
        Level l of the icosphere, with V = 10·4^l + 2 vertices.
    num_spheres
        Number of spheres R of the grid.
    channels
        Number of channels C, the shells per sphere.
    cutoff
        Cutoff radius in Å.
    shells
        Where the shells begin: ``"published"`` at r₀ = 1 Å as in the authors' code, ``"uniform"`` at r₀ = 0.

    Shapes
    ------
    - Input: :class:`~csgnn_dgl.mapping.environments.Environments` of N atoms.
    - Output: features (R, V, N, C), contiguous; float64 for float64 vectors, else float32, also under autocast.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    def __init__(
        self,
        level: int = 3,
        num_spheres: int = 1,
        channels: int = 32,
        cutoff: float = CUTOFF,
        shells: Shells = "published",
    ) -> None:
        super().__init__()
        check_counts(num_spheres=num_spheres, channels=channels)
        if shells not in get_args(Shells):
            raise ValueError(f"shells must be 'published' or 'uniform', not {shells!r}")
        if not INNER_RADIUS[shells] < cutoff < float("inf"):
            raise ValueError(f"cutoff must be a length above {INNER_RADIUS[shells]:g} Å, not {cutoff!r}")
        self.num_spheres = int(num_spheres)
        self.channels = int(channels)
        self.cutoff = float(cutoff)
        self.shells = shells
        self.locator = TriangleLocator(level)
        self.num_vertices = len(self.locator.vertices)
        self.make_tables(self.locator.vertices.numpy()[self.locator.faces.numpy()])

    @property
    def level(self) -> int:
        """Level of the icosphere."""
        return self.locator.level

    @property
    def num_shells(self) -> int:
        """Number of shells R' = R·C."""
        return self.num_spheres * self.channels

    def forward(self, environments: Environments) -> Tensor:
        """Map `environments` of N atoms to features (R, V, N, C).

        Raises
        ------
        TypeError
            If the vectors are not floating-point numbers.
        ValueError
            If a vector is not finite, a neighbour coincides with its centre or lies beyond the cutoff.
        """
        vectors = environments.vectors
        if not vectors.is_floating_point():
            raise TypeError(f"vectors must be floating-point numbers, not {vectors.dtype}")
        dtype = torch.float64 if vectors.dtype == torch.float64 else torch.float32
        with torch.autocast(vectors.device.type, enabled=False):
            return self.map_neighbours(vectors.to(dtype), environments.centre, environments.num_environments)

    def extra_repr(self) -> str:
        """Show the arguments in ``print(module)``."""
        sizes = f"level={self.level}, num_spheres={self.num_spheres}, channels={self.channels}"
        return f"{sizes}, cutoff={self.cutoff:g}, shells={self.shells!r}"

    @abstractmethod
    def make_tables(self, corners: NDArray[np.float64]) -> None:
        """Add the tables that the mapping reads, from the corners (F, 3, 3) of the triangles."""

    @abstractmethod
    def map_neighbours(self, vectors: Tensor, centre: Tensor, count: int) -> Tensor:
        """Return the features (R, V, count, C) of vectors (E, 3) to the neighbours of the atoms `centre` (E,)."""

    def check(self, distance: Tensor) -> None:
        """Raise ValueError unless distances (E,), in Å, can be those of neighbours."""
        if len(distance) == 0:
            return
        smallest, largest = torch.stack(distance.aminmax()).tolist()
        if not largest < float("inf"):
            raise ValueError("a vector of the environments is not finite; check the positions")
        if not smallest > 0:
            raise ValueError("a neighbour coincides with its centre; remove one of the two atoms")
        if largest > self.cutoff * (1 + 1e-5):
            raise ValueError(
                f"a neighbour lies at {largest:.6g} Å, beyond the cutoff of {self.cutoff:g} Å; find the neighbours "
                f"with the mapping's cutoff"
            )


class SpreadMapping(NeighbourMapping):
    """A mapping whose neighbours add 1/d to few vertices and shells; the subclasses say to which, and what share.

    Parameters, shapes and errors are those of :class:`NeighbourMapping`.
    """

    @abstractmethod
    def spread(self, points: Tensor, distance: Tensor) -> Spread:
        """Say where neighbours with vectors (3, E) and lengths (E,), in Å, contribute.

        The shares add up to 1 for each neighbour, or to less where one fades.
        """

    def map_neighbours(self, vectors: Tensor, centre: Tensor, count: int) -> Tensor:
        """Add up what the neighbours contribute; see :class:`NeighbourMapping`."""
        flat = _zeros(self.num_spheres * self.num_vertices * count * self.channels, vectors)
        if len(vectors):
            points = vectors.t().contiguous()
            distance = points.square().sum(dim=0).sqrt()
            self.check(distance.detach())
            neighbour, vertex, shell, share = self.spread(points, distance)
            row = count * self.channels
            sphere, channel = shell // self.channels, shell % self.channels
            place = (sphere * self.num_vertices + vertex) * row + centre[neighbour] * self.channels + channel
            flat.index_add_(0, place, distance.reciprocal()[neighbour] * share)
        return flat.view(self.num_spheres, self.num_vertices, count, self.channels)
