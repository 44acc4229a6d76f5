"""The convolution along the radial edges (Eq. 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from csgnn_dgl._compilers import traced
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.registry import autocast_operands, differentiable_gradients, register_convolution, transformed


def radial(features: Tensor, weight: Tensor, bias: Tensor | None, kernel: bool) -> Tensor:
    """Convolve features (R, V, B, C) along the radial edges: y_r = Σ_k x_{r + k - K // 2} W_k + b, (R, V, B, F).

    There are zeros beyond the ends.
    """
    if kernel:
        return _radial(features.to(library.storage(features.dtype)), weight, bias)
    features, weight = autocast_operands(features, weight)
    bias = None if bias is None else bias.to(weight.dtype)
    if traced() or transformed():
        return radial_in_torch(features, weight, bias)
    bias = weight.new_zeros(weight.shape[2]) if bias is None else bias
    return _InPlace.apply(features.flatten(1, 2), weight, bias).view(*features.shape[:-1], weight.shape[2])


def radial_in_torch(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `radial` by the formula, on features (R, ..., C) that have zeros beyond the ends."""
    reach, spheres = len(weight) // 2, len(features)
    padded = torch.nn.functional.pad(features, (0, 0) * (features.dim() - 1) + (reach, reach))
    result = padded[:spheres] @ weight[0]
    for tap in range(1, len(weight)):
        result = result + padded[tap : tap + spheres] @ weight[tap]
    return result if bias is None else result + bias


class _InPlace(torch.autograd.Function):
    """`radial` on features (R, M, C), one matrix product per tap, accumulated in place.

    Slices along the first axis are contiguous, so no tap copies or pads anything; the backward pass is the same
    sum over taps with read and written spheres exchanged.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        features = features.contiguous()
        ctx.save_for_backward(features, weight)
        result = torch.addmm(bias, features.flatten(0, 1), weight[len(weight) // 2])
        return _accumulate(result.view(*features.shape[:2], weight.shape[2]), features, weight, sign=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, weight = ctx.saved_tensors
        wanted, weight_wanted, bias_wanted = ctx.needs_input_grad
        feature_gradient = weight_gradient = None
        if torch.is_grad_enabled():
            feature_gradient, weight_gradient = differentiable_gradients(
                lambda features, weight: radial_in_torch(features, weight, None),
                (features, weight),
                (wanted, weight_wanted),
                gradient,
            )
            return feature_gradient, weight_gradient, gradient.sum((0, 1)) if bias_wanted else None
        gradient = gradient.contiguous()
        transposed = weight.transpose(1, 2)
        if wanted:
            start = gradient.flatten(0, 1) @ transposed[len(weight) // 2]
            feature_gradient = _accumulate(start.view(features.shape), gradient, transposed, sign=-1)
        if weight_wanted:
            weight_gradient = torch.zeros_like(weight)
            for tap in range(len(weight)):
                offset = tap - len(weight) // 2
                if abs(offset) < len(features):
                    read, written = _slices(len(features), offset)
                    torch.mm(
                        features[read].flatten(0, 1).T,
                        gradient[written].flatten(0, 1),
                        out=weight_gradient[tap],
                    )
        return feature_gradient, weight_gradient, gradient.sum((0, 1)) if bias_wanted else None


def _slices(num_spheres: int, offset: int) -> tuple[slice, slice]:
    """Spheres that are read and spheres that are written at one offset = read - written."""
    return (
        slice(max(0, offset), num_spheres + min(0, offset)),
        slice(max(0, -offset), num_spheres + min(0, -offset)),
    )


def _accumulate(result: Tensor, features: Tensor, weight: Tensor, sign: int) -> Tensor:
    """Add all taps but the centre to `result` in place; `sign` -1 exchanges the spheres read and written."""
    for tap in range(len(weight)):
        offset = sign * (tap - len(weight) // 2)
        if offset != 0 and abs(offset) < len(features):
            read, written = _slices(len(features), offset)
            result[written].flatten(0, 1).addmm_(features[read].flatten(0, 1), weight[tap])
    return result


_radial = register_convolution("radial", (), library.radial_forward, library.radial_backward, radial_in_torch)
