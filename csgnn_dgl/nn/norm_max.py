"""Batch normalisation, activation and the maximum over neighbours in one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from csgnn_dgl._compilers import traced
from csgnn_dgl.nn.moments import Moments, num_processes
from csgnn_dgl.nn.norm import Norm, activated
from csgnn_dgl.nn.ops.registry import computes_itself, transformed


class NormMax(Norm):
    r"""Batch norm per channel, activation, and the maximum over the K members of each neighbourhood.

    .. math:: a_p = \max_{k}\ \max(z_{pk},\ s z_{pk}), \quad z = \gamma\,\frac{y - \mu}{\sqrt{\sigma^2 + \epsilon}}
        + \beta

    All members are observations of the norm. The norm is a line and the activation does not fall, so only the largest
    member of each channel (the smallest where γ < 0) need be normalised; gradients pass to equal members in equal
    parts. In training on the CPU in one process no tensor but y has the members as an axis; there the gradient cannot
    be differentiated again, which torch says where it is tried.

    Parameters
    ----------
    channels, eps, momentum, slope
        As in :class:`~csgnn_dgl.nn.Norm`.

    Shapes
    ------
    - features: (..., K, C); output: (..., C).
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise, activate and take the maxima; see the class.

        Raises
        ------
        ValueError
            In training, if each channel has one observation only.
        """
        if not self.measures:
            return super().forward(_extreme(features, self.weight))
        plain = traced() or transformed() or computes_itself(features) or num_processes() > 1
        if plain or features.device.type != "cpu" or features.dtype != self.weight.dtype:
            return super().forward(features).amax(dim=-2)
        members = features.reshape(-1, *features.shape[-2:])
        self.check_count(len(members) * members.shape[1])
        return _NormMax.apply(members, self.weight, self.bias, self).view(*features.shape[:-2], -1)


def _extreme(members: Tensor, scale: Tensor) -> Tensor:
    """Return the largest member of each channel, the smallest where the scale is negative: (..., K, C) to (..., C)."""
    largest = members.amax(dim=-2)
    if not traced() and not bool((scale < 0).any()):
        return largest
    return torch.where(scale < 0, members.amin(dim=-2), largest)


class _NormMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, members: Tensor, weight: Tensor, bias: Tensor, norm: Norm) -> Tensor:
        rows = members.flatten(0, 1)
        mean, variance = torch.batch_norm_update_stats(rows, None, None, 0.0)
        total = torch.tensor(len(rows), dtype=torch.float64)
        norm.observe(Moments(mean.double(), variance.double() * total, total))
        inverse = (variance + norm.eps).rsqrt()
        extreme = _extreme(members, weight)
        normal = (extreme - mean) * inverse
        result = activated(normal * weight + bias, norm.slope)
        ctx.save_for_backward(members, extreme, normal, result, mean, weight * inverse, inverse)
        ctx.slope = norm.slope
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        members, extreme, normal, result, mean, scale, inverse = ctx.saved_tensors
        passed = torch.where(result > 0, gradient, ctx.slope * gradient)
        of_bias, of_weight = passed.sum(dim=0), (passed * normal).sum(dim=0)
        # Of every member through the moments, a line in y; of the extreme ones besides.
        rise = -scale * inverse * of_weight / (len(members) * members.shape[1])
        offset = -scale * of_bias / (len(members) * members.shape[1]) - rise * mean
        found = torch.addcmul(offset, members, rise)
        chosen = torch.eq(members, extreme[:, None], out=torch.empty_like(members))
        found.addcmul_(chosen, (scale * passed / chosen.sum(dim=1))[:, None])
        return found, of_weight, of_bias, None
