"""Density-aware adaptive sampling: points to values on concentric grids of latitudes and longitudes (PRIN)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.tables import TableModule


class SphericalVoxels(TableModule):
    r"""Say for each cell of a spherical grid how near in radius the points of its window are.

    A cell (i, j, k) has the radius r_i = (i + 1)Δ with Δ = 1/(R + 1), lies in the j-th of 2b rows of equal latitude
    angle, and at the longitude πk/b. Its window holds the points of its row whose distance from r_i is less than
    Δ and whose longitude differs by less than :math:`\frac{\pi}{2b \sin\beta_j}`, β_j = π(2j + 1)/(4b): an arc of the
    same length in all rows, so that cells do not crowd at the poles. The value is the mean over the window,

    .. math:: v_{ijk} = \frac{1}{N_{ijk}} \sum_{p} \Big(1 - \frac{|\rho_p - r_i|}{\Delta}\Big),

    and 0 where the window is empty. A rotation about the polar axis by a multiple of π/b moves the values by so many
    cells, but for points on the edge of a window. A point at the origin has no direction and counts nowhere; one on
    the polar axis lies in all windows of its row.

    Parameters
    ----------
    bandwidth
        b.
    num_radii
        R.
    wrap
        Whether windows go on across the longitude 0. In the authors' code they end there, which makes a seam.

    Shapes
    ------
    - points: (B, N, 3), norms up to 1; output: (2b, 2b, B, R) by latitude and longitude.
    """

    half_width: Tensor
    longitude: Tensor

    def __init__(self, bandwidth: int, num_radii: int, wrap: bool = True) -> None:
        super().__init__()
        check_counts(bandwidth=bandwidth, num_radii=num_radii)
        self.size, self.num_radii, self.wrap = 2 * bandwidth, num_radii, wrap
        self.add_table("half_width", 0.5 / np.sin(np.pi * (np.arange(self.size) + 0.5) / self.size))
        self.add_table("longitude", np.arange(self.size, dtype=np.float64))

    def forward(self, points: Tensor) -> Tensor:
        """Sample clouds; see the class."""
        clouds, size, shells = points.shape[0], self.size, self.num_radii + 1
        x, y, z = points.unbind(-1)
        squared = x * x + y * y + z * z
        placed = squared > 0
        depth = torch.where(placed, squared, 1).sqrt() * shells
        x, y, z, place = (values.detach() for values in (x, y, z, depth))
        shell = place.floor().clamp_(max=shells - 1)
        across = (x * x + y * y).sqrt()
        row = (torch.atan2(across, z) * (size / torch.pi)).long().clamp_(max=size - 1)
        longitude = torch.atan2(y, x) * (size / (2 * torch.pi))
        longitude = torch.where(longitude < 0, longitude + size, longitude)

        apart = (longitude[..., None] - self.longitude.to(points.dtype)).abs_()
        if self.wrap:
            apart = torch.minimum(apart, size - apart)
        half_width = torch.where(across > 0, self.half_width.to(points.dtype)[row], size)
        within = apart < torch.where(placed, half_width, 0)[..., None]

        # A point in shell s, at s + t shells from the centre, counts for the radius s - 1 with 1 - t and for s with t.
        first = torch.arange(clouds, device=points.device)[:, None] * shells
        cell = ((first + shell.long()) * size + row).flatten()
        within = within.to(points.dtype)
        table = within.new_zeros(clouds * shells * size, size)
        count = table.index_add(0, cell, within.flatten(0, 1))
        outer = table.index_add(0, cell, (within * (depth - shell)[..., None]).flatten(0, 1))
        inner = (count - outer).view(clouds, shells, size, size)
        count, outer = count.view(inner.shape), outer.view(inner.shape)
        total = count[:, :-1] + count[:, 1:]
        values = (outer[:, :-1] + inner[:, 1:]) / total.clamp(min=1)
        return values.permute(2, 3, 0, 1)
