"""Features on the concentric grid to points: the way back from the grid, for answers per point."""

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.errors import check_counts
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping.location import ROUNDING, TriangleLocator
from csgnn_dgl.mapping.tables import TableModule


class GridReading(TableModule):
    r"""Read features on the grid at points, by linear interpolation between vertices and between spheres.

    A point p at the distance r from the centre reads the three corners a, b, c of the spherical triangle that it lies
    over, on the two spheres that it lies between, with weights

    .. math::

        w_a \propto p \cdot (b \times c), \quad w_b \propto p \cdot (c \times a), \quad
        w_c \propto p \cdot (a \times b), \quad w_{i+1} = \frac{r - r_i}{r_{i+1} - r_i}, \quad w_i = 1 - w_{i+1}

    whose sum is 1. Sphere i, counted from 0, is taken to lie at the mean of the radii of its C fine spheres,
    :math:`r_i = (i C + (C + 1) / 2) / (R C)`. Points beyond the outermost sphere read it alone. At the centre stands
    the mean over the innermost sphere: a point within it lies between the two. So what is read is a continuous function
    of the point, and turning grid and points by one of the 60 rotations of the icosahedron changes nothing.

    Parameters
    ----------
    level
        Level l of the icosphere that the features are on, with V = 10·4^l + 2 vertices.
    num_spheres
        Number of spheres R.
    channels
        Fine spheres C per sphere of the mapping that made the features.

    Shapes
    ------
    - Input: features (R, V, B, F); points (B, N, 3), any radii; the unit ball is the outermost fine sphere.
    - Output: (B, N, F), of the dtype of the features.

    Examples
    --------
    >>> GridReading(level=1, num_spheres=4)(torch.rand(4, 42, 2, 8), torch.rand(2, 100, 3) / 2).shape
    torch.Size([2, 100, 8])
    """

    normals: Tensor
    radii: Tensor

    def __init__(self, level: int, num_spheres: int, channels: int = 1) -> None:
        super().__init__()
        check_counts(num_spheres=num_spheres, channels=channels)
        self.num_spheres = int(num_spheres)
        self.locator = TriangleLocator(level)
        sphere = icosphere(level)
        self.num_vertices = sphere.num_vertices
        a, b, c = sphere.vertices[sphere.faces].swapaxes(0, 1)
        # Normals of the planes through the edges opposite to a, b and c, turned inwards.
        self.add_table("normals", np.stack([np.cross(b, c).T, np.cross(c, a).T, np.cross(a, b).T]))
        self.add_table("radii", (np.arange(num_spheres) * channels + (channels + 1) / 2) / (num_spheres * channels))

    @property
    def level(self) -> int:
        """Level of the icosphere."""
        return self.locator.level

    def forward(self, features: Tensor, points: Tensor) -> Tensor:
        """Read `features` (R, V, B, F) at `points` (B, N, 3); see the class.

        Raises
        ------
        ValueError
            If the shapes do not fit the grid or each other.
        """
        if features.dim() != 4 or features.shape[:2] != (self.num_spheres, self.num_vertices):
            raise ValueError(
                f"features of shape {tuple(features.shape)} are not on the grid; give them as "
                f"({self.num_spheres}, {self.num_vertices}, clouds, channels)"
            )
        if points.dim() != 3 or points.shape[2] != 3 or len(points) != features.shape[2]:
            raise ValueError(
                f"points of shape {tuple(points.shape)} do not fit features of {features.shape[2]} clouds; give them "
                f"as ({features.shape[2]}, points, 3)"
            )
        batch, number = points.shape[:2]
        rows, weights = self._weights(points)
        # A row of the features for each vertex of each cloud; after them the mean over each innermost sphere.
        table = torch.cat([features.flatten(0, 2), features[0].mean(dim=0)])
        weights = weights.to(features.dtype)
        result = table.index_select(0, rows[0]) * weights[0][:, None]
        for row, weight in zip(rows[1:], weights[1:], strict=True):
            result = torch.addcmul(result, table.index_select(0, row), weight[:, None])
        return result.view(batch, number, features.shape[3])

    def _weights(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows (7, B·N) that each point reads, and their weights."""
        batch, number, _ = points.shape
        dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
        flat = points.to(dtype).reshape(-1, 3).t().contiguous()
        x, y, z = flat.unbind()
        norms = (x * x + y * y + z * z).sqrt()
        sample = torch.arange(batch, device=points.device).repeat_interleave(number)

        # Whatever direction stands in for that of a point at the centre, its share there is 0.
        central = norms <= ROUNDING[dtype]
        upright = torch.tensor([0.0, 0.0, 1.0], dtype=dtype, device=points.device)[:, None]
        directions = torch.where(central, upright, flat)
        face = self.locator(directions.detach(), torch.where(central, 1, norms).detach()).face
        normals = self.normals.to(dtype).index_select(2, face)
        # Written out rather than as a matrix product, which TF32 or bf16 settings would round.
        heights = (normals * directions).sum(dim=1).clamp(min=0)
        corners = heights / heights.sum(dim=0)
        vertices = self.locator.faces.t().index_select(1, face)

        radii = self.radii.to(dtype)
        inner = (torch.bucketize(norms.detach(), radii, right=True) - 1).clamp(min=0)
        outer = (inner + 1).clamp(max=self.num_spheres - 1)
        gap = torch.where(outer > inner, radii[outer] - radii[inner], 1)
        part = ((norms - radii[inner]) / gap).clamp(min=0) * (outer > inner)
        share = torch.where(central, 0, (norms / radii[0]).clamp(max=1))  # of the spheres, not of the centre

        spheres = torch.stack([inner, outer])
        between = torch.stack([1 - part, part]) * share
        rows = (spheres[:, None] * self.num_vertices + vertices) * batch + sample
        middle = self.num_spheres * self.num_vertices * batch + sample
        weights = (between[:, None] * corners).flatten(0, 1)
        return torch.cat([rows.flatten(0, 1), middle[None]]), torch.cat([weights, 1 - share[None]])

    def extra_repr(self) -> str:
        """Show the sizes in ``print(module)``."""
        return f"level={self.level}, num_spheres={self.num_spheres}"
