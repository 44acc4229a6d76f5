"""A smooth mapping of atomic environments: Gaussians of several widths in the radius, a wide kernel on the sphere."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.mapping.neighbours import NeighbourMapping

NARROWEST = 0.5
"""Width in Å of the narrowest Gaussian."""

ATOMS_AT_ONCE = 512
"""Atoms that are mapped at a time, which bounds the memory."""


class GaussianMapping(NeighbourMapping):
    r"""Map atomic environments by smooth functions, whose icosahedral sampling hardly depends on the orientation.

    Where the other two mappings put a neighbour at a few vertices of one or two shells, every vertex v sees every
    neighbour here, in R' = R·C Gaussians about the centre whose widths σ grow by equal factors from 0.5 Å to the
    cutoff:

    .. math::

        h_{v,k} = \sum_j e^{\kappa (v \cdot r_j / d_j - 1)}\, e^{-d_j^2 / 2\sigma_k^2}\,
        \frac{1}{2}\Big(\cos\frac{\pi d_j}{d_{cut}} + 1\Big), \quad \kappa = 4^l

    The kernel on the sphere is about as wide (2⁻ˡ rad) as the vertices are apart. Differences of the Gaussians resolve
    the length of a bond by its value, where shells do by the one that it falls into. The features are smooth functions
    of the positions of all atoms; neighbours fade to nothing, with their first derivative, at the cutoff. This is an
    addition to the paper.

    Parameters, shapes and errors are those of :class:`~csgnn_dgl.mapping.neighbours.NeighbourMapping`; `shells`
    is of no account. The sums are the same bits in every run.

    Examples
    --------
    >>> mapping = GaussianMapping(level=2, num_spheres=2, channels=16)
    >>> mapping(find_environments([[0, 0, 0], [0, 0, 1.4]])).shape
    torch.Size([2, 162, 2, 16])
    """

    def make_tables(self, corners: NDArray[np.float64]) -> None:
        """Add nothing: the vertices and widths are all there is to know."""
        factor = math.log(self.cutoff / NARROWEST) / max(self.num_shells - 1, 1)
        self.add_table("widths", NARROWEST * np.exp(factor * np.arange(self.num_shells)))

    widths: Tensor

    def map_neighbours(self, vectors: Tensor, centre: Tensor, count: int) -> Tensor:
        """Sum over the neighbours of each atom by one matrix product; see the class."""
        distance = vectors.square().sum(dim=1).sqrt()
        self.check(distance.detach())
        counts = torch.bincount(centre, minlength=count)
        ends = counts.cumsum(0)
        parts = []
        for first in range(0, count, ATOMS_AT_ONCE):
            own = counts[first : first + ATOMS_AT_ONCE]
            start, stop = int(ends[first] - counts[first]), int(ends[first + len(own) - 1])
            atom = centre[start:stop] - first
            place = torch.arange(stop - start, device=centre.device) - (own.cumsum(0) - own)[atom]
            on_sphere, radial = self._kernels(vectors[start:stop], distance[start:stop])
            shape = len(own), int(own.max())
            left, right = (table.new_zeros(*shape, table.shape[1]) for table in (on_sphere, radial))
            left[atom, place], right[atom, place] = on_sphere, radial
            parts.append(left.mT @ right)
        found = torch.cat(parts) if parts else vectors.new_zeros(0, self.num_vertices, self.num_shells)
        sphere_by_sphere = found.view(count, self.num_vertices, self.num_spheres, self.channels)
        return sphere_by_sphere.permute(2, 1, 0, 3).contiguous()

    def _kernels(self, vectors: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each neighbour is to the vertices (E, V) and to the Gaussians (E, R')."""
        vertices = self.locator.vertices.to(vectors.dtype)
        cosine = (vectors / distance[:, None]) @ vertices.t()
        fading = ((distance / self.cutoff).clamp(max=1) * math.pi).cos().add(1).div(2)
        gaussians = (distance.square()[:, None] / (-2 * self.widths.to(vectors.dtype) ** 2)).exp()
        return ((cosine - 1) * 4**self.level).exp(), gaussians * fading[:, None]
