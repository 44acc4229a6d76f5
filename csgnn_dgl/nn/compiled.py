"""Layers in compiled form: chains of convolutions, each with batch norm, ReLU and residual, as one differentiable step.

In the forward pass a block of vertices is summed, multiplied and measured while it is in the cache. What is kept for
the backward pass is one tensor per convolution, its result before the norm. The features between the layers are this
result on a line, scale · y + shift, above zero: where they are read once they are made of it there, and only where the
sums over neighbours read them seven times, or a residual is added, they are written. At inference the norm is applied
where the result is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from csgnn_dgl.allocator import empty
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
        (R, V, B, C) on the CPU, in float32 or float64; under autocast float32, or bfloat16 already.
    layers
        The layers, of the features' dtype, or float32 under autocast.

    Returns
    -------
    torch.Tensor
        (R, V, B, F); bfloat16 under autocast.
    """
    features = features.to(kernels.storage(features.dtype))
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
        result, coefficients = _forward(features, None, layer, fold=not measured)
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


def _forward(
    features: Tensor, line: _Coefficients | None, layer: CompiledLayer, fold: bool
) -> tuple[Tensor, _Coefficients | None]:
    """Convolve features, or those that lie on a line of them.

    The result is measured for the norm; the norm is applied as it is if `fold`.
    """
    spheres, vertices, batch, depth = features.shape
    dtype, norm = features.dtype, layer.norm
    weight = layer.weight.detach().contiguous()
    taps, _, columns = weight.shape
    bias = None if layer.bias is None else layer.bias.detach()
    result = empty((spheres, vertices, batch, columns), dtype)
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
        read = (None, None) if line is None else (line.scale, line.shift)
        kernels.call("radial_forward", dtype, features, weight, bias, result, *grid, depth, columns, *read, *after)
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
    result = empty(tuple(y.shape), y.dtype) if out is None else out
    columns = y.shape[-1]
    sizes = (y.numel() // columns, columns)
    kernels.call("norm_forward", y.dtype, y, line.scale, line.shift, residual, result, *sizes)
    return result


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, layers: Sequence[CompiledLayer], *parameters: Tensor | None) -> Tensor:
        features = features.contiguous()
        kept, lines = [features], []
        current, pending, written = features, None, False
        for layer in layers:
            if pending is not None and layer.relation is not None:
                current, pending, written = _normalise(current, pending, None), None, True
            result, line = _forward(current, pending, layer, fold=False)
            kept.append(result)
            lines.append(line)
            if line is not None and layer.residual:
                current, pending = _normalise(result, line, current, out=current if written else None), None
            else:
                current, pending = result, line
            written = layer.residual
        if pending is not None:
            current = _normalise(current, pending, None)
        ctx.save_for_backward(*kept, *(layer.weight for layer in layers))
        ctx.layers, ctx.lines = layers, lines
        return current

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers, lines = ctx.layers, ctx.lines
        kept = list(ctx.saved_tensors[: len(layers) + 1])
        # What is kept is let go layer by layer, unless the graph is wanted again.
        ctx.maybe_clear_saved_tensors()
        current: Tensor | None = gradient.contiguous()
        sums = None if lines[-1] is None else _norm_sums(gradient.contiguous(), kept[-1], lines[-1])
        results: list[Tensor | None] = []
        for index in reversed(range(len(layers))):
            assert current is not None  # all but the last one that is made are wanted
            result = kept.pop()
            lazy = index > 0 and lines[index - 1] is not None and not layers[index - 1].residual
            features = None if lazy else _input(index, kept, layers, lines)
            found = _norm_gradients(sums, layers[index], lines[index], current)
            previous = (kept[-1], lines[index - 1]) if index > 0 else None
            wanted = index > 0 or ctx.needs_input_grad[0]
            current, weight_gradient, sums = _backward(
                current, result, features, layers[index], lines[index], found.norm, wanted, previous
            )
            everything = (weight_gradient, found.before, found.weight, found.bias)
            needs = ctx.needs_input_grad[2 + 4 * index : 6 + 4 * index]
            results = [value if need else None for value, need in zip(everything, needs, strict=True)] + results
        return (current, None, *results)


def _input(
    index: int, kept: Sequence[Tensor], layers: Sequence[CompiledLayer], lines: Sequence[_Coefficients | None]
) -> Tensor:
    """Make the input of a layer again from what is kept of those before it."""
    line = lines[index - 1] if index > 0 else None
    if line is None:
        return kept[index]
    if not layers[index - 1].residual:
        return _normalise(kept[index], line, None)
    before = _input(index - 1, kept, layers, lines)
    return _normalise(kept[index], line, before, out=None if before is kept[index - 1] else before)


def _norm_sums(gradient: Tensor, result: Tensor, line: _Coefficients) -> Tensor:
    """Return the sums of the gradient that the ReLU lets through, and of the same times (y - mean): (2, F) float64."""
    columns = result.shape[-1]
    sums = torch.empty(2, columns, dtype=torch.float64)
    sizes = (result.numel() // columns, columns)
    kernels.call("norm_sums", result.dtype, gradient, result, line.scale, line.shift, line.mean, sums, *sizes)
    return sums


class _NormGradients(NamedTuple):
    """Gradients of a norm's bias and weight and of the bias before it, and the line that gives that of its input."""

    bias: Tensor | None
    weight: Tensor | None
    before: Tensor | None
    norm: tuple[Tensor | None, ...]


def _norm_gradients(
    sums: Tensor | None, layer: CompiledLayer, line: _Coefficients | None, gradient: Tensor
) -> _NormGradients:
    if line is None or sums is None:
        bias = None if layer.bias is None else gradient.sum((0, 1, 2), dtype=layer.bias.dtype)
        return _NormGradients(None, None, bias, (None,) * 5)
    dtype, inverse, scale = line.scale.dtype, line.inverse.double(), line.scale.double()
    if line.count > 0:
        # The norm takes out the mean, so that the bias before it changes nothing.
        before = torch.zeros_like(scale)
        totals = sum_across_processes(sums) / line.count
        slope, constant = -scale * inverse**2 * totals[1], -scale * totals[0]
    else:
        before = scale * sums[0]
        slope = constant = torch.zeros_like(scale)
    norm = (line.scale, line.shift, line.mean, slope.to(dtype), constant.to(dtype))
    return _NormGradients(sums[0].to(dtype), (sums[1] * inverse).to(dtype), before.to(dtype), norm)


def _backward(
    gradient: Tensor,
    result: Tensor,
    features: Tensor | None,
    layer: CompiledLayer,
    line: _Coefficients | None,
    norm: tuple[Tensor | None, ...],
    wanted: bool,
    previous: tuple[Tensor, _Coefficients | None] | None,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Return the gradients of features (if `wanted`) and weight, and the sums for the norm of the `previous` layer.

    Features of None are those that lie on the line of the previous layer's result.
    """
    spheres, vertices, batch, columns = result.shape
    dtype, weight = result.dtype, layer.weight.detach().contiguous()
    taps, depth, _ = weight.shape
    weight_gradient = torch.zeros_like(weight)
    feature_gradient = empty((spheres, vertices, batch, depth), dtype) if wanted else None
    sums = None
    then: tuple[Tensor | None, ...] = (None,) * 5
    if previous is not None and previous[1] is not None:
        sums = torch.empty(2, depth, dtype=torch.float64)
        then = (previous[0], previous[1].scale, previous[1].shift, previous[1].mean, sums)
    if layer.relation is None:
        grid = (spheres, vertices, batch, taps, depth, columns)
        given = (gradient, None if line is None else result, *norm, features, weight)
        kernels.call("radial_backward", dtype, *given, feature_gradient, weight_gradient, *grid, *then)
    else:
        before = gradient
        if line is not None:
            before = empty(tuple(gradient.shape), gradient.dtype)
            sizes = (gradient.numel() // columns, columns)
            kernels.call("norm_backward", dtype, gradient, result, *norm, before, *sizes)
        nodes = (spheres * vertices, batch, depth, columns)
        edges = (layer.relation.targets, layer.relation.reverse_offsets)
        made = (feature_gradient, gradient if layer.residual else None, weight_gradient)
        kernels.call("intra_backward", dtype, before, features, weight, *edges, *made, *nodes, *then)
    return feature_gradient, weight_gradient, sums
