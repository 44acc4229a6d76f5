"""The convolution of SPHNet: spherical harmonics of the neighbours' directions, read by their norms."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.errors import check_counts
from csgnn_dgl.nn.forms import refers
from csgnn_dgl.nn.harmonics import NUM_HARMONICS, SIZES
from csgnn_dgl.nn.ops.harmonic import NUM_RADII, harmonic_kernel
from csgnn_dgl.nn.ops.points import gather, nearest

HarmonicForm = Literal["auto", "fast", "reference"]

LEAST_SQUARE = 1e-4
"""What the square of an invariant is at least: a square root at 0 has an infinite gradient."""


class HarmonicConv(nn.Module):
    r"""Rotation-invariant convolution of features on points (SPHNet).

    Over the K nearest neighbours q of each point p, itself among them, with x = q - p,
    d = max(‖x‖, 0.01), j in {0, 1} and l = 0 to 3:

    .. math::
        w_j(d) = e^{-(d - jR)^2 / 2R^2}, \quad
        z_{j,lm,c} = \frac{\sum_q w_j(d)\,Y_{lm}(x / d)\,f_{q,c}}{10^{-6} + \sum_q w_0(d)\,Y_{00}}, \quad
        s_{j,l,c} = \sqrt{\max(10^{-4}, \textstyle\sum_m z_{j,lm,c}^2)}, \quad
        h_p = W s + b

    A rotation or reflection mixes the z of one degree l by an orthogonal matrix, so that s, and h, stay as they are.

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    radius
        R, where the second Gaussian has its maximum, and the width of both.
    neighbours
        K. Where there are fewer points, all are neighbours.
    form
        ``"reference"``: DGL message passing over a graph of neighbours; ``"fast"``, ``"auto"``: matrix products in
        torch.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Shapes
    ------
    - points: (B, N, 3).
    - features: (B, N, C), or None for the constant 1, with C = 1.
    - output: (B, N, F).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        radius: float,
        neighbours: int = 64,
        form: HarmonicForm = "auto",
    ) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, neighbours=neighbours)
        if not 0 < radius < float("inf"):
            raise ValueError(f"radius must be above 0 and finite, not {radius!r}")
        if form not in get_args(HarmonicForm):
            raise ValueError(f"form must be one of {', '.join(get_args(HarmonicForm))}, not {form!r}")
        self.radius, self.neighbours, self.form = radius, neighbours, form
        self.linear = nn.Linear(NUM_RADII * len(SIZES) * in_channels, out_channels)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        """Convolve; see the class."""
        clouds, count, _ = points.shape
        everyone = count <= self.neighbours
        if everyone:
            index = torch.arange(count, device=points.device).expand(clouds, count, count)
        else:
            index = nearest(points, points, self.neighbours)
        dtype = self.linear.weight.dtype
        if features is None and self.form != "reference":
            coefficients = harmonic_kernel(points, index, self.radius, summed=True).to(dtype)[..., None]
        else:
            kernel = harmonic_kernel(points, index, self.radius).to(dtype)
            features = kernel.new_ones(clouds, count, 1) if features is None else features
            if refers(self.form, features):
                coefficients = _send(kernel, features, index)
            elif everyone:
                coefficients = (kernel.flatten(1, 2) @ features).unflatten(1, kernel.shape[1:3])
            else:
                coefficients = kernel @ gather(features, index)
        return self.linear(_norms(coefficients.unflatten(2, (NUM_RADII, NUM_HARMONICS))).flatten(2))

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"radius={self.radius}, neighbours={self.neighbours}, form={self.form!r}"


def _send(kernel: Tensor, features: Tensor, index: Tensor) -> Tensor:
    """Return Σ_q kernel (B, N, 32, K) · features (B, N, C), (B, N, 32, C), by messages from neighbours to points."""
    dgl = require_dgl()
    clouds, count, size = index.shape
    points = torch.arange(clouds * count, device=index.device)
    first = (points // count * count).view(clouds, count, 1)
    sources, targets = (first + index).flatten(), points.repeat_interleave(size)
    graph = dgl.graph((sources, targets), num_nodes=clouds * count)
    graph.ndata["feature"] = features.flatten(0, 1)[:, None]
    graph.edata["kernel"] = kernel.mT.flatten(0, 2)[:, :, None]
    graph.update_all(dgl.function.u_mul_e("feature", "kernel", "message"), dgl.function.sum("message", "sum"))
    return graph.ndata["sum"].unflatten(0, (clouds, count))


def _norms(coefficients: Tensor) -> Tensor:
    """Return the norm of each degree's coefficients (B, N, 2, 16, C): (B, N, 2, 4, C)."""
    squares = [degree.square().sum(dim=3) for degree in coefficients.split(SIZES, dim=3)]
    return torch.stack(squares, dim=3).clamp(min=LEAST_SQUARE).sqrt()
