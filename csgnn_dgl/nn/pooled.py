"""Linear layer, batch norm, ReLU and the maximum over the points of a cloud in one (PointNet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from csgnn_dgl._compilers import traced
from csgnn_dgl.nn.moments import Moments, num_processes
from csgnn_dgl.nn.norm import Norm, activated
from csgnn_dgl.nn.norm_max import NormMax
from csgnn_dgl.nn.ops.points import gather
from csgnn_dgl.nn.ops.registry import computes_itself, transformed


class PooledLinear(nn.Module):
    r"""Linear layer with batch norm and activation a, and the maximum over all points of each cloud.

    .. math:: z_b = \max_i a\big(\mathrm{BN}(y_{bi})\big), \quad y_{bi} = W x_{bi} + c

    All points of the batch are observations of the norm. It is a line for each channel and the activation does not
    fall, so that of each channel's numbers only the largest of a cloud (the smallest, where the norm's scale is
    negative) goes on. In training in one process the product with all points serves to find it, without a gradient;
    the moments of y follow from those of x, with C channels where y has many more,

    .. math:: \mu = W \bar x + c, \quad \sigma_f^2 = W_f\, \mathrm{Cov}(x)\, W_f^\top,

    and gradients pass through these and through the points that were found.

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    eps
        ε of the norm.
    slope
        Slope of the activation below zero.

    Shapes
    ------
    - features: (B, N, C); output: (B, F).
    """

    def __init__(self, in_channels: int, out_channels: int, eps: float = 1e-5, slope: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = NormMax(out_channels, eps=eps, slope=slope)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the maxima; see the class.

        Raises
        ------
        ValueError
            In training, if each channel has one observation only.
        """
        plain = traced() or transformed() or computes_itself(features) or num_processes() > 1
        if plain or not self.norm.measures or features.dtype != self.linear.weight.dtype:
            return self.norm(self.linear(features))
        return self._measured(features, self.norm)

    def _measured(self, features: Tensor, norm: Norm) -> Tensor:
        weight, bias = self.linear.weight, self.linear.bias
        rows = features.flatten(0, 1)
        norm.check_count(len(rows))
        centre = rows.mean(dim=0)
        centred = rows - centre
        covariance = centred.t() @ centred / len(rows)
        mean = linear(centre, weight, bias)
        variance = ((weight @ covariance) * weight).sum(dim=1).clamp(min=0)
        total = torch.tensor(len(rows), dtype=torch.float64, device=rows.device)
        with torch.no_grad():
            norm.observe(Moments(mean.double(), variance.double() * total, total))
            signed = weight * torch.where(norm.weight < 0, -1.0, 1.0).to(weight.dtype)[:, None]
            # One cloud after the other, whose products stay in the cache, and with its points side by side in memory.
            found = torch.stack([(signed @ cloud.t()).argmax(dim=1) for cloud in features])
        largest = (gather(features, found) * weight).sum(dim=2) + bias
        scale = norm.weight * (variance + norm.eps).rsqrt()
        return activated((largest - mean) * scale + norm.bias, norm.slope)
