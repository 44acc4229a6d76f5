"""Kernel point convolution: weights at points in space, each for the neighbours near it."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.nn.ops.ragged import Neighbourhoods, weighted_sums

NUM_KERNEL_POINTS = 15

MEAN_RADIUS = 0.66
"""Mean distance of the kernel points from the centre, in radii of the neighbourhood."""

NOISE = 0.01
"""Standard deviation by which the kernel points of a layer are moved, in radii of the neighbourhood."""


class KernelPointConv(nn.Module):
    r"""Rigid kernel point convolution (Thomas et al. 2019, Eqs. 1 to 3).

    .. math::

        g(x) = \sum_{\|x_i - x\| < r} \sum_{k=1}^{K} h_k(x_i - x)\, f_i W_k, \quad
        h_k(y) = \max\Big(0,\ 1 - \frac{\|y - \tilde x_k\|}{\sigma}\Big)

    with the features f_i of the neighbours and K = 15. The kernel points are those of :func:`kernel_disposition` times
    r, moved by a little noise and turned about the third axis, drawn for each layer; they are a buffer and never
    change. There is no bias.

    The points near enough to a neighbour are first found by a matrix product, generously, and the influences h
    computed for these alone: two of 15 for most neighbours.

    Parameters
    ----------
    in_channels, out_channels
        Numbers of channels C and F.
    radius
        r, the radius of the neighbourhoods that the layer will get.
    extent
        σ, how far a kernel point reaches.
    generator
        What the noise and the angle are drawn from.
    reference
        Whether to send messages with DGL, along the edges of the neighbourhoods, and with all K points for each.

    Shapes
    ------
    - neighbourhoods: of M queries among P points; features: (P, C); output: (M, F).
    """

    kernel_points: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        radius: float,
        extent: float,
        generator: torch.Generator,
        reference: bool = False,
    ) -> None:
        super().__init__()
        self.radius, self.extent, self.reference = radius, extent, reference
        points = kernel_disposition()
        points = points + NOISE * torch.randn(points.shape, generator=generator, dtype=points.dtype)
        angle = 2 * math.pi * float(torch.rand((), generator=generator, dtype=points.dtype))
        cosine, sine = math.cos(angle), math.sin(angle)
        turn = points.new_tensor([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        self.register_buffer("kernel_points", (radius * points @ turn).to(torch.get_default_dtype()))
        self.weight = nn.Parameter(torch.empty(NUM_KERNEL_POINTS, in_channels, out_channels))
        bound = 1 / math.sqrt(NUM_KERNEL_POINTS * in_channels)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, neighbourhoods: Neighbourhoods, features: Tensor) -> Tensor:
        """Convolve; see the class."""
        sums = (self._by_messages if self.reference else self._by_pairs)(neighbourhoods, features.to(self.weight.dtype))
        return sums.flatten(1) @ self.weight.flatten(0, 1)

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        _, inner, outer = self.weight.shape
        return f"{inner}, {outer}, radius={self.radius:g}, extent={self.extent:g}"

    def _by_pairs(self, neighbourhoods: Neighbourhoods, features: Tensor) -> Tensor:
        """Return Σ_i h_k(x_i - x) f_i (M, K, C), from the pairs of a neighbour and a kernel point near it."""
        vectors = neighbourhoods.vectors.to(self.kernel_points.dtype)
        kernel, edge = self._near(vectors.detach())
        x, y, z = vectors.index_select(1, edge) - self.kernel_points.t().index_select(1, kernel)
        squared = x * x + y * y + z * z
        distance = squared.clamp(min=torch.finfo(squared.dtype).tiny).sqrt()  # whose slope at 0 would be infinite
        influence = (1 - distance / self.extent).clamp(min=0)
        queries = neighbourhoods.num_queries
        place = kernel * queries + neighbourhoods.query.index_select(0, edge)
        support = neighbourhoods.support.index_select(0, edge)
        sums = weighted_sums(features, influence, support, place, NUM_KERNEL_POINTS * queries)
        return sums.view(NUM_KERNEL_POINTS, queries, -1).transpose(0, 1)

    @torch.no_grad()
    def _near(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pairs of a kernel point and an edge (3, E) nearer than σ, and some that are a little farther."""
        points = self.kernel_points
        with torch.autocast(vectors.device.type, enabled=False):
            # ‖x̃‖² - 2 x̃·y < (1.05 σ)² - ‖y‖²: far more than the product's roundings
            products = torch.addmm(points.square().sum(dim=1, keepdim=True), points, vectors, alpha=-2)
        kernel, edge = (products < (1.05 * self.extent) ** 2 - vectors.square().sum(dim=0)).nonzero().t().contiguous()
        return kernel, edge

    def _by_messages(self, neighbourhoods: Neighbourhoods, features: Tensor) -> Tensor:
        """Return the same by DGL."""
        dgl = require_dgl()
        edges = {("support", "to", "query"): (neighbourhoods.support, neighbourhoods.query)}
        graph = dgl.heterograph(edges, {"support": len(features), "query": neighbourhoods.num_queries})
        gaps = neighbourhoods.vectors.t().to(self.kernel_points.dtype)[:, None] - self.kernel_points
        graph.edata["h"] = (1 - torch.linalg.vector_norm(gaps, dim=2, keepdim=True) / self.extent).clamp(min=0)
        graph.srcdata["f"] = features[:, None]
        graph.update_all(dgl.function.u_mul_e("f", "h", "m"), dgl.function.sum("m", "sum"))
        return graph.dstdata["sum"]


@lru_cache
def kernel_disposition() -> Tensor:
    r"""Spread the kernel points over a ball: one at the centre, the others by repulsion and attraction.

    The others minimise

    .. math:: \sum_{i < j} \frac{1}{\|x_i - x_j\|} + \frac12 \sum_i \|x_i\|^2,

    scaled to a mean distance of 0.66 from the centre. Another weight of the attraction would only change the scale.
    Descent starts from a spiral on the sphere, so that the points are always the same.

    Returns
    -------
    torch.Tensor
        (15, 3) float64.
    """
    place = np.arange(NUM_KERNEL_POINTS - 1)
    turns = np.pi * (1 + 5**0.5) * place
    height = 1 - (2 * place + 1) / len(place)
    ring = np.sqrt(1 - height**2)
    outer = np.stack([ring * np.cos(turns), ring * np.sin(turns), height], axis=1)
    for _ in range(1500):
        points = np.concatenate([np.zeros((1, 3)), outer])
        gaps = outer[:, None] - points
        cubes = np.linalg.norm(gaps, axis=2, keepdims=True) ** 3
        repulsion = np.divide(gaps, cubes, out=np.zeros_like(gaps), where=cubes > 0).sum(axis=1)
        outer = outer + 0.4 * (repulsion - outer)
    outer = outer * MEAN_RADIUS / np.linalg.norm(outer, axis=1).mean()
    return torch.from_numpy(np.concatenate([np.zeros((1, 3)), outer]))
