"""Chains of convolutions, each with batch norm, ReLU and residual, as one operator.

In the forward pass a block of vertices is summed, multiplied and measured while it is in the cache. What is kept for
the backward pass is one tensor per convolution, its result before the norm. The features between the layers are this
result on a line, scale · y + shift, above zero: where they are read once they are made of it there, and only where the
sums over neighbours read them seven times, or a residual is added, they are written. At inference the norm is applied
where the result is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from csgnn_dgl.nn.moments import Moments, num_processes, sum_across_processes
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.intra import Edges, intra_in_torch
from csgnn_dgl.nn.ops.library import Line, Norm, NormGradient
from csgnn_dgl.nn.ops.radial import radial_in_torch
from csgnn_dgl.nn.ops.registry import LIBRARY, differentiable_gradients, product_flops, register


class Layer(NamedTuple):
    """A convolution with bias and edges (none between spheres), and the norm and ReLU that follow it.

    The norm takes the moments of the batch if `measured`, else those given. A residual adds the input.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor
    eps: float
    measured: bool
    residual: bool
    edges: tuple[Tensor, ...]


def block(features: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, list[Moments]]:
    """Apply layers to features (R, V, B, C) one after the other.

    Return the result, (R, V, B, F) and bfloat16 under autocast, and over all processes the moments of what is measured.
    """
    *lists, eps, measured, residual, edges = (list(column) for column in zip(*layers, strict=True))
    tables = [table for some in edges for table in some]
    features = features.to(library.storage(features.dtype))
    result, _, _, moments = _block(features, *lists, tables, eps, measured, residual, False)
    return result, [Moments(*rows.unbind()) for rows in moments]


def _layers(
    parameters: Sequence[list[Tensor]],
    means: list[Tensor],
    variances: list[Tensor],
    tables: list[Tensor],
    eps: list[float],
    measured: list[bool],
    residual: list[bool],
) -> list[Layer]:
    given = [[tensor.contiguous() for tensor in tensors] for tensors in parameters]
    tables = list(tables)
    edges = [tuple(tables.pop(0) for _ in range(4)) if weight.dim() == 2 else () for weight in given[0]]
    columns = (*given, means, variances, eps, measured, residual, edges)
    return [Layer(*values) for values in zip(*columns, strict=True)]


class _Coefficients(NamedTuple):
    """A norm as the line scale · y + shift, with the mean and 1 / standard deviation it is made of, all (F,)."""

    scale: Tensor
    shift: Tensor
    mean: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, layer: Layer, mean: Tensor, variance: Tensor) -> _Coefficients:
        inverse = (variance.double() + layer.eps).rsqrt()
        scale = layer.scale.double() * inverse
        shift = layer.shift.double() - scale * mean.double()
        dtype = layer.scale.dtype
        return cls(scale.to(dtype), shift.to(dtype), mean.to(dtype), inverse.to(dtype))

    @property
    def line(self) -> Line:
        return Line(self.scale, self.shift)

    def norm(self, y: Tensor) -> Norm:
        return Norm(y, self.scale, self.shift, self.mean)


def _convolve(features: Tensor, layer: Layer, read: Line | None, applied: Line | None) -> library.Forward:
    """Convolve features, or those that lie on a line of them; measure the result, or apply a norm to it."""
    then: Any = {"moments": layer.measured, "norm": applied, "residual": layer.residual and applied is not None}
    if layer.edges:
        return library.intra_forward(features, layer.weight, layer.bias, *layer.edges[:2], **then)
    return library.radial_forward(features, layer.weight, layer.bias, line=read, **then)


def _norm_of(layer: Layer, found: library.Forward, measured: list[Tensor]) -> _Coefficients:
    """Return the norm of a result; where it was measured, add mean, scatter and their number, (3, F), to `measured`."""
    if found.moments is None:
        return _Coefficients.of(layer, layer.mean, layer.variance)
    mean, scatter = found.moments
    moments = Moments(mean, scatter, mean.new_tensor(found.result[..., 0].numel())).across_processes()
    measured.append(torch.stack([moments.mean, moments.scatter, moments.total.expand_as(mean)]))
    return _Coefficients.of(layer, moments.mean, moments.variance)


def _forward(features: Tensor, *arguments: Any) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Return the result, what is kept: results before the norms and their coefficients, and the moments."""
    layers = _layers(arguments[:4], *arguments[4:-1])
    features = features.contiguous()
    if arguments[-1]:
        return _forward_keeping(features, layers)
    all_moments: list[Tensor] = []
    for layer in layers:
        if layer.measured:
            found = _convolve(features, layer, None, None)
            line = _norm_of(layer, found, all_moments).line
            residual = features if layer.residual else None
            features = library.norm_forward(found.result, line, residual, out=found.result)
        else:
            line = _Coefficients.of(layer, layer.mean, layer.variance).line
            features = _convolve(features, layer, None, line).result
    return features, [], [], all_moments


def _forward_keeping(features: Tensor, layers: list[Layer]) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    kept, lines = [], []
    all_moments: list[Tensor] = []
    current, pending, written = features, None, False
    for layer in layers:
        if pending is not None and layer.edges:
            current, pending, written = library.norm_forward(current, pending.line), None, True
        found = _convolve(current, layer, None if pending is None else pending.line, None)
        coefficients = _norm_of(layer, found, all_moments)
        kept.append(found.result)
        lines.append(torch.stack(coefficients))
        if layer.residual:
            out = current if written else None
            current, pending = library.norm_forward(found.result, coefficients.line, current, out=out), None
        else:
            current, pending = found.result, coefficients
        written = layer.residual
    if pending is not None:
        current = library.norm_forward(current, pending.line)
    return current, kept, lines, all_moments


def _backward(
    gradient: Tensor,
    features: Tensor,
    kept: list[Tensor],
    lines: list[Tensor],
    moments: list[Tensor],
    weights: list[Tensor],
    tables: list[Tensor],
    measured: list[bool],
    residual: list[bool],
    wanted: bool,
) -> list[Tensor]:
    """Return the gradients of weight, bias, scale and shift of each layer, and that of the features if `wanted`.

    What is kept is taken out of its list, and so let go, layer by layer.
    """
    coefficients = [_Coefficients(*rows.unbind()) for rows in lines]
    moments, tables = list(moments), list(tables)
    kept.insert(0, features.contiguous())
    current, sums = gradient.contiguous(), library.norm_sums(gradient.contiguous(), coefficients[-1].norm(kept[-1]))
    results: list[Tensor] = []
    for index in reversed(range(len(weights))):
        norm, of_norm = _norm_gradients(sums, coefficients[index], moments.pop()[2] if measured[index] else None)
        readers = (tables.pop(), tables.pop()) if weights[index].dim() == 2 else None
        before = coefficients[index - 1].norm(kept[-2]) if index > 0 else None
        found = _backward_step(
            current,
            kept.pop(),
            None if index > 0 and not residual[index - 1] else _input(index, kept, coefficients, residual),
            weights[index].contiguous(),
            readers,
            norm,
            residual=residual[index],
            wanted=index > 0 or wanted,
            before=before,
        )
        results = [found.weight, *of_norm, *results]
        if found.features is not None:
            current = found.features
        if found.sums is not None:
            sums = found.sums
    return [*results, current] if wanted else results


def _backward_step(
    gradient: Tensor,
    result: Tensor,
    inputs: Tensor | None,
    weight: Tensor,
    readers: tuple[Tensor, Tensor] | None,
    norm: NormGradient,
    *,
    residual: bool,
    wanted: bool,
    before: Norm | None,
) -> library.Backward:
    """Return the gradients of one layer; inputs of None are those that `before` makes."""
    if readers is None:
        return library.radial_backward(gradient, inputs, weight, result=result, norm=norm, wanted=wanted, before=before)
    offsets, targets = readers
    added = gradient if residual and wanted else None
    after = library.norm_backward(gradient, result, norm)
    return library.intra_backward(after, inputs, weight, targets, offsets, wanted=wanted, residual=added, before=before)


def _input(index: int, kept: list[Tensor], coefficients: list[_Coefficients], residual: list[bool]) -> Tensor:
    """Make the input of a layer again from what is kept of those before it."""
    if index == 0:
        return kept[0]
    line = coefficients[index - 1].line
    if not residual[index - 1]:
        return library.norm_forward(kept[index], line)
    before = _input(index - 1, kept, coefficients, residual)
    return library.norm_forward(kept[index], line, before, out=None if before is kept[index - 1] else before)


def _norm_gradients(
    sums: Tensor, line: _Coefficients, count: Tensor | None
) -> tuple[NormGradient, tuple[Tensor, Tensor, Tensor]]:
    """Return what gives the gradient of a norm's input, and those of the bias before it and of its scale and shift."""
    dtype, inverse, scale = line.scale.dtype, line.inverse.double(), line.scale.double()
    if count is not None:
        # The norm takes out the mean, so that the bias before it changes nothing.
        before = torch.zeros_like(scale)
        totals = sum_across_processes(sums) / count
        slope, constant = -scale * inverse**2 * totals[1], -scale * totals[0]
    else:
        before = scale * sums[0]
        slope = constant = torch.zeros_like(scale)
    norm = NormGradient(line.scale, line.shift, line.mean, slope.to(dtype), constant.to(dtype))
    return norm, (before.to(dtype), (sums[1] * inverse).to(dtype), sums[0].to(dtype))


def _block_in_torch(features: Tensor, layers: Sequence[Layer], lines: Sequence[Tensor]) -> Tensor:
    """Compute `block` in torch's own operators; a norm that measures nothing is that of its line (4, F)."""
    for layer, line in zip(layers, lines, strict=True):
        if layer.edges:
            y = intra_in_torch(features, layer.weight, layer.bias, Edges(*layer.edges))
        else:
            y = radial_in_torch(features, layer.weight, layer.bias)
        if layer.measured:
            variance, mean = torch.var_mean(y, dim=(0, 1, 2), correction=0)
            inverse = (variance + layer.eps).rsqrt()
        else:
            mean, inverse = line[2:]
        z = ((y - mean) * inverse * layer.scale + layer.shift).relu()
        features = z + features if layer.residual else z
    return features


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keyset: Any, options: tuple[list[Any], ...], count: int, *tensors: Tensor) -> Any:
        features, *rest = tensors
        lists = [list(rest[start : start + count]) for start in range(0, 6 * count, count)]
        tables = list(rest[6 * count :])
        with torch._C._AutoDispatchBelowAutograd():
            keys = keyset & torch._C._after_autograd_keyset
            result, kept, lines, moments = _block.redispatch(keys, features, *lists, tables, *options, True)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*moments)
        ctx.options, ctx.count = options, count
        # The running averages change after this: the lines have what is needed of them.
        ctx.save_for_backward(features, *rest[: 4 * count], *tables, *lines, *moments, *kept)
        return (result, *moments)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *nothing: None) -> tuple[Tensor | None, ...]:
        nothing_else = (None,) * (len(ctx.needs_input_grad) - 4 * ctx.count - 4)
        if gradient is None:
            return (None,) * len(ctx.needs_input_grad)
        count, (eps, measured, residual) = ctx.count, ctx.options
        needed = ctx.needs_input_grad[3 : 4 + 4 * count]
        features, *rest = ctx.saved_tensors
        parameters, rest = rest[: 4 * count], rest[4 * count :]
        weights = parameters[:count]
        num_tables = 4 * sum(weight.dim() == 2 for weight in weights)
        tables, rest = rest[:num_tables], rest[num_tables:]
        lines, rest = rest[:count], rest[count:]
        moments, kept = rest[: sum(measured)], rest[sum(measured) :]
        del rest
        if torch.is_grad_enabled():

            def function(features: Tensor, *parameters: Tensor) -> Tensor:
                given = [list(parameters[start : start + count]) for start in range(0, 4 * count, count)]
                layers = _layers(given, lines, lines, tables, eps, measured, residual)
                return _block_in_torch(features.to(parameters[0].dtype), layers, lines).to(features.dtype)

            if num_processes() > 1 and any(measured):
                raise RuntimeError(
                    "norms over several processes can be differentiated once only; use one process for second "
                    "derivatives"
                )
            found = differentiable_gradients(function, (features, *parameters), needed, gradient)
            return (None, None, None, *found, *nothing_else)
        # What is kept is let go layer by layer, unless the graph is wanted again.
        ctx.maybe_clear_saved_tensors()
        plain = type(gradient) is Tensor and not torch._C._len_torch_dispatch_stack()
        # An operator holds its arguments until it ends; what it is made of does not.
        compute = _backward if plain else _block_backward
        readers = [table for number, table in enumerate(tables) if number % 4 > 1]  # and not whom they read
        lists = (kept, lines, moments, weights, readers, measured, residual)
        results = compute(gradient, features, *lists, needed[0])
        dx = results[4 * count] if needed[0] else None
        by_kind = [results[layer * 4 + kind] for kind in range(4) for layer in range(count)]
        chosen = [value if need else None for value, need in zip(by_kind, needed[1:], strict=True)]
        return (None, None, None, dx, *chosen, *nothing_else)


def _autograd(keyset: Any, features: Tensor, *arguments: Any) -> Any:
    *lists, eps, measured, residual, _ = arguments
    tensors = [features, *(tensor for some in lists for tensor in some)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        result, *moments = _Block.apply(keyset, (eps, measured, residual), len(eps), *tensors)
        return result, [], [], moments
    with torch._C._AutoDispatchBelowAutograd():
        return _block.redispatch(keyset & torch._C._after_autograd_keyset, features, *arguments)


def _forward_fake(features: Tensor, *arguments: Any) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    weights, *_, measured, _, keep = arguments
    made = [features.new_empty(*features.shape[:3], weight.shape[-1]) for weight in weights]
    pairs = zip(weights, measured, strict=True)
    moments = [w.new_empty(3, w.shape[-1], dtype=torch.float64) for w, measures in pairs if measures]
    if not keep:
        return made[-1], [], [], moments
    return torch.empty_like(made[-1]), made, [w.new_empty(4, w.shape[-1]) for w in weights], moments


def _backward_fake(gradient: Tensor, features: Tensor, *arguments: Any) -> list[Tensor]:
    weights, wanted = arguments[3], arguments[-1]
    results = []
    for weight in weights:
        results += [weight.new_empty(weight.shape), *(weight.new_empty(weight.shape[-1]) for _ in range(3))]
    return [*results, features.new_empty(features.shape)] if wanted else results


def _forward_flops(features: Any, weights: Any, *rest: Any, **options: Any) -> int:
    return sum(product_flops(features, weight) for weight in weights)


def _backward_flops(gradient: Any, features: Any, *arguments: Any, **options: Any) -> int:
    weights, wanted = arguments[3], arguments[-1]
    both = 2 * _forward_flops(features, weights)
    return both if wanted else both - product_flops(features, weights[0])


_block = register(
    "block",
    "(Tensor features, Tensor[] weights, Tensor[] biases, Tensor[] scales, Tensor[] shifts, Tensor[] means, "
    "Tensor[] variances, Tensor[] tables, float[] eps, bool[] measured, bool[] residual, bool keep) -> "
    "(Tensor, Tensor[], Tensor[], Tensor[])",
    _forward,
    _forward_fake,
    _forward_flops,
)
_block_backward = register(
    "block_backward",
    "(Tensor gradient, Tensor features, Tensor[] kept, Tensor[] lines, Tensor[] moments, Tensor[] weights, "
    "Tensor[] tables, bool[] measured, bool[] residual, bool wanted) -> Tensor[]",
    _backward,
    _backward_fake,
    _backward_flops,
)
LIBRARY.impl("block", _autograd, "Autograd", with_keyset=True)
