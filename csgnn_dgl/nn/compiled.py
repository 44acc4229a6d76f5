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

from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.nn.moments import Moments, sum_across_processes
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.library import Line, Norm, NormGradient


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
    features = features.to(library.storage(features.dtype))
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
            result = library.norm_forward(result, coefficients.line, features if layer.residual else None, out=result)
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

    @property
    def line(self) -> Line:
        return Line(self.scale, self.shift)


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
    norm, weight = layer.norm, layer.weight.detach().contiguous()
    bias = None if layer.bias is None else layer.bias.detach()
    applied = coefficients = None
    measures = norm is not None and norm.measures
    if norm is not None and measures:
        norm.check_count(features[..., 0].numel())
    elif norm is not None:
        coefficients = _line(norm, norm.running_mean, norm.running_var, 0)
        applied = coefficients.line if fold else None
    then: Any = {"moments": measures, "norm": applied, "residual": layer.residual and applied is not None}
    if layer.relation is None:
        read = None if line is None else line.line
        result, measured = library.radial_forward(features, weight, bias, line=read, **then)
    else:
        edges = layer.relation.sources, layer.relation.offsets
        result, measured = library.intra_forward(features, weight[0], bias, *edges, **then)
    if norm is not None and measured is not None:
        moments = Moments(measured[0], measured[1], result[..., 0].numel()).across_processes()
        norm.observe(moments)
        coefficients = _line(norm, moments.mean, moments.variance, moments.total)
    return result, coefficients


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, layers: Sequence[CompiledLayer], *parameters: Tensor | None) -> Tensor:
        features = features.contiguous()
        kept, lines = [features], []
        current, pending, written = features, None, False
        for layer in layers:
            if pending is not None and layer.relation is not None:
                current, pending, written = library.norm_forward(current, pending.line), None, True
            result, line = _forward(current, pending, layer, fold=False)
            kept.append(result)
            lines.append(line)
            if line is not None and layer.residual:
                out = current if written else None
                current, pending = library.norm_forward(result, line.line, current, out=out), None
            else:
                current, pending = result, line
            written = layer.residual
        if pending is not None:
            current = library.norm_forward(current, pending.line)
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
        sums = None if lines[-1] is None else library.norm_sums(gradient.contiguous(), _norm(kept[-1], lines[-1]))
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
                current, result, features, layers[index], found.norm, wanted, previous
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
        return library.norm_forward(kept[index], line.line)
    before = _input(index - 1, kept, layers, lines)
    return library.norm_forward(kept[index], line.line, before, out=None if before is kept[index - 1] else before)


def _norm(result: Tensor, line: _Coefficients) -> Norm:
    return Norm(result, line.scale, line.shift, line.mean)


class _NormGradients(NamedTuple):
    """Gradients of a norm's bias and weight and of the bias before it, and the line that gives that of its input."""

    bias: Tensor | None
    weight: Tensor | None
    before: Tensor | None
    norm: NormGradient | None


def _norm_gradients(
    sums: Tensor | None, layer: CompiledLayer, line: _Coefficients | None, gradient: Tensor
) -> _NormGradients:
    if line is None or sums is None:
        bias = None if layer.bias is None else gradient.sum((0, 1, 2), dtype=layer.bias.dtype)
        return _NormGradients(None, None, bias, None)
    dtype, inverse, scale = line.scale.dtype, line.inverse.double(), line.scale.double()
    if line.count > 0:
        # The norm takes out the mean, so that the bias before it changes nothing.
        before = torch.zeros_like(scale)
        totals = sum_across_processes(sums) / line.count
        slope, constant = -scale * inverse**2 * totals[1], -scale * totals[0]
    else:
        before = scale * sums[0]
        slope = constant = torch.zeros_like(scale)
    norm = NormGradient(line.scale, line.shift, line.mean, slope.to(dtype), constant.to(dtype))
    return _NormGradients(sums[0].to(dtype), (sums[1] * inverse).to(dtype), before.to(dtype), norm)


def _backward(
    gradient: Tensor,
    result: Tensor,
    features: Tensor | None,
    layer: CompiledLayer,
    norm: NormGradient | None,
    wanted: bool,
    previous: tuple[Tensor, _Coefficients | None] | None,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Return the gradients of features (if `wanted`) and weight, and the sums for the norm of the `previous` layer.

    Features of None are those that lie on the line of the previous layer's result.
    """
    weight = layer.weight.detach().contiguous()
    before = None if previous is None or previous[1] is None else _norm(previous[0], previous[1])
    if layer.relation is None:
        kept = None if norm is None else result
        return library.radial_backward(gradient, features, weight, result=kept, norm=norm, wanted=wanted, before=before)
    after = gradient if norm is None else library.norm_backward(gradient, result, norm)
    edges = (layer.relation.targets, layer.relation.reverse_offsets)
    residual = gradient if layer.residual and wanted else None
    found = library.intra_backward(after, features, weight[0], *edges, wanted=wanted, residual=residual, before=before)
    return found.features, found.weight[None], found.sums
