"""Which spherical triangle of the icosphere a direction lies in."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping.tables import TableModule, faces_around_vertices

ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}
"""How far rounding may move a point of the unit ball: radians across an edge, lengths across a sphere.

A point this close to an edge, a vertex, a sphere or the centre counts as lying on it, so that its cells do
not depend on its orientation. Measured at level 5: a point on an edge, rounded to float32 and rotated in
float32 by an icosahedral rotation, ends up to 1.2e-7 beside the edge and 1.7e-7 beside its sphere (float64:
2e-15 and 4e-16); a division by the largest norm adds as much again.
"""


class Located(NamedTuple):
    """The triangles of P directions.

    Attributes
    ----------
    face
        (P,) int64, one triangle of each direction.
    tied
        (T,) int64, positions of the directions on an edge or vertex, ascending.
    share
        (T,) float64, 1 / number of triangles that contain the tied direction: the share of each of them.
    other
        (X,) int64, positions in `tied`, one entry for each further triangle of a tied direction.
    other_face
        (X,) int64, these further triangles.
    """

    face: Tensor
    tied: Tensor
    share: Tensor
    other: Tensor
    other_face: Tensor


class TriangleLocator(TableModule):
    """Find the spherical triangles that contain given directions, all directions at once.

    The face of the icosahedron is the one with the nearest centre. Since edge midpoints lie on the great
    circles of their edges, the four children of a triangle fill it exactly, and a direction's child follows
    from its sides of the three great circles that bound the centre child: three scalar products per level.
    The smallest distance to any great circle seen on the way is the distance to the boundary of the final
    triangle or less, and zero only on it. Directions close to it (rare) are tested in float64 against all 5
    or 6 triangles about their nearest vertex.

    Parameters
    ----------
    level
        Level l of the icosphere, which has F = 20·4^l triangles.

    Shapes
    ------
    - Input: points (3, P) in float32 or float64, and their norms (P,), which must not be zero.
    - Output: :class:`Located`.
    """

    vertices: Tensor
    faces: Tensor
    fans: Tensor
    centres: Tensor
    circles: Tensor

    def __init__(self, level: int) -> None:
        super().__init__()
        sphere = icosphere(level)
        self.level = int(level)
        self.add_table("vertices", sphere.vertices)
        self.add_table("faces", sphere.faces)
        self.add_table("fans", faces_around_vertices(sphere))

        base = icosphere(0)
        corners = base.vertices[base.faces]
        self.add_table("centres", _unit(corners.sum(axis=1)))
        # Normals (3 circles, 3 coordinates, triangles), one block per step of the descent: of the edges
        # bc, ca, ab of the icosahedron's faces; then, level by level, of the edges of the centre children.
        blocks = [_edge_normals(corners)]
        for coarse in range(self.level):
            fine = icosphere(coarse + 1)
            # The centre child is (m_bc, m_ca, m_ab); the corner a lies beyond its edge (m_ca, m_ab).
            blocks.append(-_edge_normals(fine.vertices[fine.faces[3::4]]))
        self.add_table("circles", np.concatenate(blocks, axis=2).reshape(9, -1))

    @torch.no_grad()
    def forward(self, points: Tensor, norms: Tensor) -> Located:
        """Locate `points` (3, P) with `norms` (P,); see :class:`Located`."""
        x, y, z = points.unbind()
        centres = self.centres.to(points.dtype)
        # Written out rather than as a matrix product, which TF32 or bf16 settings would round.
        closeness = centres[:, :1] * x
        closeness.addcmul_(centres[:, 1:2], y).addcmul_(centres[:, 2:], z)
        face = closeness.max(dim=0).indices

        circles = self.circles.to(points.dtype)
        heights = _heights(circles[:, :20], face, x, y, z)
        nearest = torch.minimum(heights[0], torch.minimum(heights[1], heights[2]))
        start, count = 20, 20
        for _ in range(self.level):
            towards_a, towards_b, towards_c = _heights(circles[:, start : start + count], face, x, y, z)
            for height in (towards_a, towards_b, towards_c):
                nearest = torch.minimum(nearest, height.abs())
            # At most one of the three is positive (but for rounding near a vertex), in child 3 none.
            child = torch.where(towards_c > 0, 2, 3)
            child = torch.where(towards_b > 0, 1, child)
            face = 4 * face + torch.where(towards_a > 0, 0, child)
            start, count = start + count, 4 * count

        tied = (nearest <= 2 * ROUNDING[points.dtype] * norms).nonzero().squeeze(1)
        return self._share(points, face, tied)

    def _share(self, points: Tensor, face: Tensor, tied: Tensor) -> Located:
        """Find all triangles of the directions that may lie on an edge, in float64."""
        directions = points[:, tied].t().double()
        directions = directions / directions.square().sum(dim=1, keepdim=True).sqrt()
        corners = self.faces[face[tied]]
        closeness = (self.vertices[corners] * directions[:, None]).sum(dim=2)
        vertex = corners.gather(1, closeness.argmax(dim=1, keepdim=True)).squeeze(1)
        fan = self.fans[vertex]

        a, b, c = self.vertices[self.faces[fan.clamp(min=0)]].unbind(dim=2)
        contains = fan >= 0
        for start, end in ((a, b), (b, c), (c, a)):
            normal = torch.linalg.cross(start, end)
            height = (normal * directions[:, None]).sum(dim=2) / normal.square().sum(dim=2).sqrt()
            contains &= height >= -ROUNDING[points.dtype]

        share = 1 / contains.sum(dim=1).clamp(min=1).double()
        other, place = (contains & (fan != face[tied, None])).nonzero().unbind(dim=1)
        return Located(face, tied, share, other, fan[other, place])


def _heights(normals: Tensor, face: Tensor, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the products of points with the three normals (9, faces) of their faces."""
    rows = normals.index_select(1, face)
    first, second, third = (
        (rows[start] * x).addcmul_(rows[start + 1], y).addcmul_(rows[start + 2], z) for start in (0, 3, 6)
    )
    return first, second, third


def _edge_normals(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit normals (3, 3, F), turned inwards, of the edges bc, ca, ab of triangles (F, 3, 3)."""
    a, b, c = corners.swapaxes(0, 1)
    return np.stack([_unit(np.cross(b, c)).T, _unit(np.cross(c, a)).T, _unit(np.cross(a, b)).T])


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
