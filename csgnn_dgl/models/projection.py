"""A learnt projection of point clouds onto the icosphere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping.tables import TableModule
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.norm_max import NormMax
from csgnn_dgl.nn.ops.points import nearest


class SphereProjection(nn.Module):
    r"""Let every vertex of an icosphere read the points nearest to it in angle.

    .. math:: f_v = \max_{p \in N_K(v)} \mathrm{MLP}(\lVert p \rVert, \cos \angle(p, v), \lVert p - v \rVert)

    The three numbers do not change when point and vertex turn together, so that the 60 rotations of the icosahedron
    permute the features. A point at the origin has no direction: its cosine is 0, and it stands as far from each
    vertex as one at 60°.

    Parameters
    ----------
    level
        Level l of the icosphere, with V = 10·4^l + 2 vertices.
    num_neighbours
        Number K of points that each vertex reads.
    widths
        Channels of the layers of the MLP, each linear, batch norm and ReLU.

    Shapes
    ------
    - points: (B, N, 3) within the unit ball, N of at least K; output: (V, B, widths[-1]).

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    def __init__(self, level: int, num_neighbours: int, widths: Sequence[int]) -> None:
        super().__init__()
        check_counts(num_neighbours=num_neighbours, layers=len(widths))
        check_counts(**{f"projection[{i}]": width for i, width in enumerate(widths)})
        self.num_neighbours = num_neighbours
        self.out_channels = widths[-1]
        self.lattice = TableModule()
        self.lattice.add_table("vertices", icosphere(level).vertices)
        inner = [3, *widths]
        self.mlp = mlp(*inner[:-1])
        self.linear = nn.Linear(inner[-2], inner[-1])
        self.norm_max = NormMax(inner[-1], slope=0.0)

    def forward(self, points: Tensor) -> Tensor:
        """Project; see the class.

        Raises
        ------
        ValueError
            If the clouds have fewer points than a vertex reads.
        """
        vertices = self.lattice.get_buffer("vertices").to(points.dtype)
        return self.norm_max(self.linear(self.mlp(self._seen(points, vertices))))

    def _seen(self, points: Tensor, vertices: Tensor) -> Tensor:
        """Return what the vertices (V, 3) see of the points nearest to them, (V, B, K, 3)."""
        length = _root(points.square().sum(dim=-1))
        found = nearest(points / length[..., None], vertices.expand(points.shape[0], -1, -1), self.num_neighbours)
        first = torch.arange(points.shape[0], device=points.device) * points.shape[1]
        place = (found.transpose(0, 1) + first[:, None]).flatten()
        radius = length.flatten()[place].view(len(vertices), -1, self.num_neighbours)
        cosine, squared = torch.zeros_like(radius), torch.zeros_like(radius)
        for axis, of_vertex in enumerate(vertices.unbind(dim=1)):
            of_point = points[..., axis].flatten()[place].view(radius.shape)
            cosine = cosine + of_point * of_vertex[:, None, None]
            squared = squared + (of_point - of_vertex[:, None, None]).square()
        return torch.stack([radius, cosine / radius, _root(squared)], dim=-1)


def _root(squares: Tensor) -> Tensor:
    """Take square roots, with a gradient of zero at zero."""
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
