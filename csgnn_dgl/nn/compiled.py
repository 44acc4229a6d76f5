"""Layers in compiled form: chains of convolutions, each with batch norm, ReLU and residual, as one differentiable step.

In the forward pass a block of vertices is summed, multiplied and measured while it is in the cache. What is kept for
the backward pass is one tensor per convolution, its result before the norm; the features between the layers are made
again from these, which takes one pass over memory each. At inference the norm is applied where the result is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.nn import kernels
from csgnn_dgl.nn.moments import Moments, sum_across_processes
from csgnn_dgl.nn.norm import NormReLU


@dataclass(frozen=True, eq=False)
class CompiledLayer:
    """One convolution with what follows it.

    Attributes
    ----------
    weight
        (taps, C, F).
    bias
        (F,), or None.
    norm
        Batch norm and ReLU, or None: the bare convolution.
    relation
        The edges of an intra-sphere convolution, which has one tap; None for a radial convolution.
    residual
        Whether the input is added to the result.
    """

    weight: Tensor
    bias: Tensor | None
    norm: NormReLU | None = None
    relation: Relation | None = None
    residual: bool = False


def run(features: Tensor, layers: Sequence[CompiledLayer]) -> Tensor:
    """Apply layers one after the other.

    Parameters
    ----------
    features
        (R, V, B, C) in float32 or float64, on the CPU.
    layers
        The layers.

    Returns
    -------
    torch.Tensor
        (R, V, B, F).
    """
    parameters: list[Tensor | None] = []
    for layer in layers:
        norm = layer.norm
        parameters += [layer.weight, layer.bias, *((None, None) if norm is None else (norm.weight, norm.bias))]
    tensors = [features, *(tensor for tensor in parameters if tensor is not None)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _Chain.apply(features, layers, *parameters)
    features = features.contiguous()
    for layer in layers:
        measured = layer.norm is not None and layer.norm.measures
        result, coefficients = _forward(features, layer, fold=not measured)
        if measured:
            assert coefficients is not None
            result = _normalise(result, coefficients, features if layer.residual else None, out=result)
        features = result
    return features


@dataclass(frozen=True, eq=False)
class _Coefficients:
    """A norm as the line scale · y + shift, with the mean and 1 / standard deviation it is made of, all (F,)."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    inverse: Tensor
    count: float
    """Number of observations of each channel, over all processes; 0 if the norm did not measure them."""


def _line(norm: NormReLU, mean: Tensor, variance: Tensor, count: float) -> _Coefficients:
    dtype = norm.weight.dtype
    inverse = (variance.double() + norm.eps).rsqrt()
    scale = norm.weight.double() * inverse
    shift = norm.bias.double() - scale * mean.double()
    return _Coefficients(scale.to(dtype), shift.to(dtype), mean.to(dtype), inverse.to(dtype), count)


def _forward(features: Tensor, layer: CompiledLayer, fold: bool) -> tuple[Tensor, _Coefficients | None]:
    """Convolve; measure the result for the norm, or apply the norm as it is if `fold`."""
    spheres, vertices, batch, depth = features.shape
    dtype, norm = features.dtype, layer.norm
    weight = layer.weight.detach().contiguous()
    taps, _, columns = weight.shape
    bias = None if layer.bias is None else layer.bias.detach()
    result = features.new_empty(spheres, vertices, batch, columns)
    mean = scatter = scale = shift = residual = coefficients = None
    if norm is not None and norm.measures:
        norm.check_count(result[..., 0].numel())
        mean, scatter = torch.empty(2, columns, dtype=torch.float64).unbind()
    elif norm is not None:
        coefficients = _line(norm, norm.running_mean, norm.running_var, 0)
        if fold:
            scale, shift = coefficients.scale, coefficients.shift
            residual = features if layer.residual else None
    after = (mean, scatter, scale, shift, residual)
    if layer.relation is None:
        grid = (spheres, vertices, batch, taps)
        kernels.call("radial_forward", dtype, features, weight, bias, result, *grid, depth, columns, *after)
    else:
        edges, nodes = (layer.relation.sources, layer.relation.offsets), (spheres * vertices, batch)
        kernels.call("intra_forward", dtype, features, weight, bias, *edges, result, *nodes, depth, columns, *after)
    if mean is not None and scatter is not None:
        assert norm is not None
        moments = Moments(mean, scatter, result[..., 0].numel()).across_processes()
        norm.observe(moments)
        coefficients = _line(norm, moments.mean, moments.variance, moments.total)
    return result, coefficients


def _normalise(y: Tensor, line: _Coefficients, residual: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Return relu(scale · y + shift), plus the residual."""
    result = torch.empty_like(y) if out is None else out
    columns = y.shape[-1]
    sizes = (y.numel() // columns, columns)
    kernels.call("norm_forward", y.dtype, y, line.scale, line.shift, residual, result, *sizes)
    return result


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, layers: Sequence[CompiledLayer], *parameters: Tensor | None) -> Tensor:
        features = features.contiguous()
        kept, lines = [features], []
        for layer in layers:
            result, line = _forward(features, layer, fold=False)
            kept.append(result)
            lines.append(line)
            features = result if line is None else _normalise(result, line, features if layer.residual else None)
        ctx.save_for_backward(*kept, *(layer.weight for layer in layers))
        ctx.layers, ctx.lines = layers, lines
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, lines = ctx.layers, ctx.lines
        kept = list(ctx.saved_tensors[: len(layers) + 1])
        inputs = kept[:1]
        for layer, line, result in zip(layers[:-1], lines, kept[1:], strict=False):
            before = inputs[-1] if layer.residual else None
            inputs.append(result if line is None else _normalise(result, line, before))
        results: list[Tensor | None] = []
        for index in reversed(range(len(layers))):
            needs = ctx.needs_input_grad[2 + 4 * index : 6 + 4 * index]
            wanted = index > 0 or ctx.needs_input_grad[0]
            found = _backward(gradient.contiguous(), kept.pop(), inputs.pop(), layers[index], lines[index], wanted)
            results = [value if need else None for value, need in zip(found[1:], needs, strict=True)] + results
            gradient = found[0]
        return (gradient, None, *results)


def _backward(
    gradient: Tensor, result: Tensor, features: Tensor, layer: CompiledLayer, line: _Coefficients | None, wanted: bool
) -> tuple[Any, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of the features (if `wanted`), weight, bias, norm's weight and norm's bias."""
    spheres, vertices, batch, depth = features.shape
    dtype, weight = features.dtype, layer.weight.detach().contiguous()
    taps, _, columns = weight.shape
    sizes = (gradient.numel() // columns, columns)
    norm: tuple[Tensor | None, ...]
    if line is None:
        scale_gradient = shift_gradient = None
        bias_gradient = gradient.sum((0, 1, 2)) if layer.bias is not None else None
        norm, before = (None,) * 5, gradient
    else:
        sums = torch.empty(2, columns, dtype=torch.float64)
        kernels.call("norm_sums", dtype, gradient, result, line.scale, line.shift, line.mean, sums, *sizes)
        inverse, scale = line.inverse.double(), line.scale.double()
        shift_gradient, scale_gradient = sums[0].to(dtype), (sums[1] * inverse).to(dtype)
        if line.count > 0:
            # The norm takes out the mean, so that the bias before it changes nothing.
            bias_gradient = torch.zeros_like(shift_gradient)
            totals = sum_across_processes(sums) / line.count
            slope, constant = -scale * inverse**2 * totals[1], -scale * totals[0]
        else:
            bias_gradient = (scale * sums[0]).to(dtype)
            slope = constant = torch.zeros_like(scale)
        norm = (line.scale, line.shift, line.mean, slope.to(dtype), constant.to(dtype))
    weight_gradient = torch.zeros_like(weight)
    feature_gradient = torch.empty_like(features) if wanted else None
    if layer.relation is None:
        grid = (spheres, vertices, batch, taps, depth, columns)
        given = (gradient, None if line is None else result, *norm, features, weight)
        kernels.call("radial_backward", dtype, *given, feature_gradient, weight_gradient, *grid)
    else:
        if line is not None:
            before = torch.empty_like(gradient)
            kernels.call("norm_backward", dtype, gradient, result, *norm, before, *sizes)
        nodes = (spheres * vertices, batch, depth, columns)
        edges = (layer.relation.targets, layer.relation.reverse_offsets)
        made = (feature_gradient, gradient if layer.residual else None, weight_gradient)
        kernels.call("intra_backward", dtype, before, features, weight, *edges, *made, *nodes)
    bias_gradient = None if layer.bias is None else bias_gradient
    return feature_gradient, weight_gradient, bias_gradient, scale_gradient, shift_gradient
