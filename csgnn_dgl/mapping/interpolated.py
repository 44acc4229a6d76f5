"""A continuous mapping of atomic environments: each neighbour is spread over three vertices of two shells."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.mapping.neighbours import INNER_RADIUS, Spread, SpreadMapping


class InterpolatedMapping(SpreadMapping):
    r"""Map atomic environments by linear interpolation between vertices and between shells.

    Where :class:`~csgnn_dgl.mapping.nearest.NearestVertexMapping` rounds a neighbour to one vertex of one shell, this
    one spreads its 1/d over the three corners a, b, c of the triangle that its direction p lies in, and over the two
    shells whose centres it lies between:

    .. math::

        w_a \propto p \cdot (b \times c), \quad w_b \propto p \cdot (c \times a), \quad
        w_c \propto p \cdot (a \times b),

        w_{s+1} = t - s, \quad w_s = 1 - (t - s), \quad t = (d - r_0) / \Delta - 1/2

    with the weights of the corners adding up to 1, and s the integer part of t. Neighbours within the centre of the
    first shell belong to it alone; from the centre of the last shell to the cutoff they fade to nothing. So the
    features are continuous functions of the positions of all atoms, and differentiable almost everywhere; those of
    the paper's mapping jump. This is an addition to the paper.

    Parameters, shapes and errors are those of :class:`~csgnn_dgl.mapping.neighbours.NeighbourMapping`.

    Examples
    --------
    >>> mapping = InterpolatedMapping(level=2, num_spheres=2, channels=16)
    >>> mapping(find_environments([[0, 0, 0], [0, 0, 1.4]])).shape
    torch.Size([2, 162, 2, 16])
    """

    normals: Tensor

    def make_tables(self, corners: NDArray[np.float64]) -> None:
        """Add the normals (9, F) of the planes through the edges opposite to a, b and c, turned inwards."""
        a, b, c = corners.swapaxes(0, 1)
        self.add_table("normals", np.concatenate([np.cross(b, c).T, np.cross(c, a).T, np.cross(a, b).T]))

    def spread(self, points: Tensor, distance: Tensor) -> Spread:
        """Say where neighbours contribute; see the class and :meth:`SpreadMapping.spread`."""
        face = self.locator(points.detach(), distance.detach()).face
        corners = self._corner_weights(points, face)
        depth = (distance - INNER_RADIUS[self.shells]) * (
            self.num_shells / (self.cutoff - INNER_RADIUS[self.shells])
        ) - 0.5
        last = self.num_shells - 1
        inner = depth.detach().floor().long().clamp_(0, last)
        outer = (inner + 1).clamp_(max=last)
        part = (depth - inner).clamp(min=0)
        # Beyond the last centre there is half a shell to fade in, and no further shell.
        beyond = inner == last
        first = torch.where(beyond, 1 - 2 * part, 1 - part).clamp(min=0)
        second = torch.where(beyond, 0, part)

        vertex = self.locator.faces.t().index_select(1, face)
        neighbour = torch.arange(len(distance), device=distance.device).expand(2, 3, -1)
        return Spread(
            neighbour.reshape(-1),
            vertex.expand(2, -1, -1).reshape(-1),
            torch.stack([inner, outer])[:, None].expand(-1, 3, -1).reshape(-1),
            (torch.stack([first, second])[:, None] * corners).reshape(-1),
        )

    def _corner_weights(self, points: Tensor, face: Tensor) -> Tensor:
        """Return the shares (3, E) of the corners of each point's triangle."""
        normals = self.normals.to(points.dtype).index_select(1, face)
        # Written out rather than as a matrix product, which TF32 or bf16 settings would round.
        heights = (normals.view(3, 3, -1) * points).sum(dim=1).clamp(min=0)
        return heights / heights.sum(dim=0)
