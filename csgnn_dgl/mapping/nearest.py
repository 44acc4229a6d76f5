"""Atomic environments to features: each neighbour adds 1/d to the nearest vertex of its shell (Sec. 4.2)."""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.mapping.base import _zeros, check_sizes
from csgnn_dgl.mapping.environments import CUTOFF, Environments
from csgnn_dgl.mapping.location import ROUNDING, TriangleLocator
from csgnn_dgl.mapping.tables import TableModule

Shells = Literal["published", "uniform"]
INNER_RADIUS: dict[str, float] = {"published": 1.0, "uniform": 0.0}
"""Radius in Å at which the shells of each kind begin."""


class NearestVertexMapping(TableModule):
    r"""Map atomic environments to features on the grid (Sec. 4.2 of the paper).

    The R' = R·C shells are equal intervals of the radii r₀ to the cutoff: shell s is

    .. math:: r_0 + s \Delta < d \le r_0 + (s + 1) \Delta, \quad \Delta = (r_{cut} - r_0) / R'.

    Neighbours closer than r₀ belong to the first shell. A neighbour at the distance d from the centre adds 1/d
    to the vertex nearest to its direction. Shells i·C to i·C + C - 1 become the C channels of sphere i, inner
    to outer.

    A neighbour whose direction is as near to one vertex as to another is shared equally by all nearest ones.
    "As near" and "on a boundary of shells" mean closer than rounding can move a neighbour
    (:data:`~csgnn_dgl.mapping.location.ROUNDING`: 1e-6 rad, or 1e-6 of the cutoff, in float32; 1e-12 in
    float64). The features of an environment rotated by one of the 60 icosahedral rotations are then the
    permuted features of the environment.

    The nearest vertices of a direction are corners of its triangle, since all triangles of an icosphere are
    acute, and its faces those of its vertices' convex hull: so
    :class:`~csgnn_dgl.mapping.location.TriangleLocator` finds them.

    The features are differentiable with respect to the vectors through 1/d, shell and vertex being constant.
    They are the same bits in every run on a CPU; on CUDA the order of the sums is not, unless
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
    - Output: features (R, V, N, C), contiguous; float64 for float64 vectors, else float32, in autocast.

    Examples
    --------
    >>> mapping = NearestVertexMapping(level=2, num_spheres=2, channels=16)
    >>> mapping(find_environments([[0, 0, 0], [0, 0, 1.4]])).shape
    torch.Size([2, 162, 2, 16])
    """

    sides: Tensor

    def __init__(
        self,
        level: int = 3,
        num_spheres: int = 1,
        channels: int = 32,
        cutoff: float = CUTOFF,
        shells: Shells = "published",
    ) -> None:
        super().__init__()
        check_sizes(num_spheres, channels, threshold=1)
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
        corners = self.locator.vertices.numpy()[self.locator.faces.numpy()]
        # (9, F): unit normals of the planes halfway between the corners a and b, b and c, c and a.
        sides = corners - np.roll(corners, -1, axis=1)
        sides /= np.linalg.norm(sides, axis=2, keepdims=True)
        self.add_table("sides", sides.reshape(-1, 9).T)

    @property
    def level(self) -> int:
        """Level of the icosphere."""
        return self.locator.level

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
            return self._map(vectors.to(dtype), environments.centre, environments.num_environments)

    def extra_repr(self) -> str:
        """Show the arguments in ``print(module)``."""
        sizes = f"level={self.level}, num_spheres={self.num_spheres}, channels={self.channels}"
        return f"{sizes}, cutoff={self.cutoff:g}, shells={self.shells!r}"

    def _map(self, vectors: Tensor, centre: Tensor, count: int) -> Tensor:
        flat = _zeros(self.num_spheres * self.num_vertices * count * self.channels, vectors)
        if len(vectors):
            points = vectors.t().contiguous()
            distance = points.square().sum(dim=0).sqrt()
            self._check(distance.detach())
            vertex, which, share = self._nearest(points.detach(), distance.detach())
            shell = self._shell(distance.detach())
            # the place of a neighbour's shell and atom in (R, V, N, C), without its vertex
            row = count * self.channels
            place = shell // self.channels * (self.num_vertices * row) + centre * self.channels + shell % self.channels
            value = distance.reciprocal()
            flat.index_add_(0, place[which] + vertex * row, value[which] * share)
        return flat.view(self.num_spheres, self.num_vertices, count, self.channels)

    def _shell(self, distance: Tensor) -> Tensor:
        """Return the shell of each distance."""
        inner, number = INNER_RADIUS[self.shells], self.num_spheres * self.channels
        slack = ROUNDING[distance.dtype] * self.cutoff
        scaled = (distance - (inner + slack)) * (number / (self.cutoff - inner))
        return scaled.ceil().long().sub_(1).clamp_(0, number - 1)

    def _nearest(self, points: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return nearest vertices, the positions of the points they belong to, and their shares of these."""
        face = self.locator(points, distance).face
        sides = self.sides.to(points.dtype).index_select(1, face)
        x, y, z = points.unbind()
        ab, bc, ca = ((sides[k] * x).addcmul_(sides[k + 1], y).addcmul_(sides[k + 2], z) for k in (0, 3, 6))
        slack = ROUNDING[points.dtype] * distance
        nearest = torch.stack(
            [
                (ab >= -slack) & (ca <= slack),
                (bc >= -slack) & (ab <= slack),
                (ca >= -slack) & (bc <= slack),
            ]
        )
        corner, which = nearest.nonzero().unbind(dim=1)
        share = nearest.sum(dim=0).to(points.dtype).reciprocal()
        return self.locator.faces.t()[corner, face[which]], which, share[which]

    def _check(self, distance: Tensor) -> None:
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
