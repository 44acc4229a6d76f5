"""The paper's mapping of atomic environments: each neighbour adds 1/d to the nearest vertex of its shell."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.mapping.location import ROUNDING
from csgnn_dgl.mapping.neighbours import INNER_RADIUS, Spread, SpreadMapping


class NearestVertexMapping(SpreadMapping):
    r"""Map atomic environments to the nearest vertices (Sec. 4.2 of the paper).

    A neighbour at the distance d from the centre adds 1/d to the vertex nearest to its direction, in the shell that
    d lies in. Neighbours closer than r₀ belong to the first shell.

    A neighbour whose direction is as near to one vertex as to another is shared equally by all nearest ones.
    "As near" and "on a boundary of shells" mean closer than rounding can move a neighbour
    (:data:`~csgnn_dgl.mapping.location.ROUNDING`: 1e-6 rad, or 1e-6 of the cutoff, in float32; 1e-12 in
    float64), so that equivariance under the 60 rotations is exact at ties as well.

    The nearest vertices of a direction are corners of its triangle, since all triangles of an icosphere are
    acute, and its faces those of its vertices' convex hull: so
    :class:`~csgnn_dgl.mapping.location.TriangleLocator` finds them.

    The features jump where a neighbour crosses from one vertex or shell to the next. They are differentiable with
    respect to the vectors through 1/d, shell and vertex being constant.

    Parameters, shapes and errors are those of :class:`~csgnn_dgl.mapping.neighbours.NeighbourMapping`.

    Examples
    --------
    >>> mapping = NearestVertexMapping(level=2, num_spheres=2, channels=16)
    >>> mapping(find_environments([[0, 0, 0], [0, 0, 1.4]])).shape
    torch.Size([2, 162, 2, 16])
    """

    sides: Tensor

    def make_tables(self, corners: NDArray[np.float64]) -> None:
        """Add the unit normals (9, F) of the planes halfway between the corners a and b, b and c, c and a."""
        sides = corners - np.roll(corners, -1, axis=1)
        sides /= np.linalg.norm(sides, axis=2, keepdims=True)
        self.add_table("sides", sides.reshape(-1, 9).T)

    def spread(self, points: Tensor, distance: Tensor) -> Spread:
        """Say where neighbours contribute; see the class and :meth:`SpreadMapping.spread`."""
        points, distance = points.detach(), distance.detach()
        vertex, neighbour, share = self._nearest(points, distance)
        return Spread(neighbour, vertex, self._shell(distance)[neighbour], share)

    def _shell(self, distance: Tensor) -> Tensor:
        """Return the shell of each distance."""
        inner, number = INNER_RADIUS[self.shells], self.num_shells
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
