"""Maxima: over the sources of each target (A.5), and over all rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from csgnn_dgl._compilers import traced
from csgnn_dgl.allocator import empty
from csgnn_dgl.graphs.relation import PoolingRelation
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.neighbourhoods import Neighbourhoods
from csgnn_dgl.nn.ops.registry import LIBRARY, NAMESPACE, register, transformed


def neighbour_max(features: Tensor, relation: PoolingRelation, kernel: bool) -> Tensor:
    """Maximum over the sources of each target, (sources, M) to (targets, M): y_t = max_{s → t} x_s.

    The gradient goes to the first of equal sources. A NaN is larger than everything.
    """
    if kernel:
        return neighbour_max_by_kernel(features, relation)
    if traced() or transformed():
        return _by_comparing(features, relation)
    return _LargestOfRows.apply(features, relation)


def neighbour_max_by_kernel(features: Tensor, relation: PoolingRelation | Neighbourhoods) -> Tensor:
    """Compute `neighbour_max` with the kernel, also over neighbourhoods that have no other tables."""
    edges = (relation.sources, relation.offsets, relation.targets, relation.places, relation.reverse_offsets)
    wanted = torch.is_grad_enabled() and features.requires_grad
    return _neighbour_max(features, *edges, wanted)[0]


def _by_comparing(features: Tensor, relation: PoolingRelation) -> Tensor:
    first, *others = relation.table.unbind(dim=1)
    maximum = features.index_select(0, first)
    for sources in others:
        candidates = features.index_select(0, sources)
        maximum = torch.where((candidates > maximum) | (candidates != candidates), candidates, maximum)
    return maximum


class _LargestOfRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, relation: PoolingRelation) -> Tensor:
        """Take the maxima, and the place of each among the sources of its target."""
        ctx.relation, ctx.count = relation, len(features)
        first, *others = relation.table.unbind(dim=1)
        maximum = features.index_select(0, first)
        winners = torch.zeros_like(maximum, dtype=torch.uint8) if ctx.needs_input_grad[0] else None
        for position, sources in enumerate(others, start=1):
            candidates = features.index_select(0, sources)
            if winners is not None:
                # Later positions are larger numbers: a maximum of bytes is faster than a masked fill.
                torch.maximum(winners, (candidates > maximum).view(torch.uint8) * position, out=winners)
            torch.maximum(maximum, candidates, out=maximum)
        if winners is not None:
            ctx.save_for_backward(winners)
        return maximum

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (winners,) = ctx.saved_tensors
        relation = ctx.relation
        if torch.is_grad_enabled():
            edges = relation.sources, relation.offsets
            return _differentiable_backward(gradient, winners, *edges, ctx.count), None
        # Each source looks up the targets that read it: no atomics, so the same bits at every run.
        result = gradient.new_zeros(())
        for target, place in zip(relation.readers_table.unbind(1), relation.places_table.unbind(1), strict=True):
            won = winners.index_select(0, target) == place[:, None]
            result = result + gradient.index_select(0, target).masked_fill_(~won, 0)
        return result, None


def _differentiable_backward(gradient: Tensor, winners: Tensor, sources: Tensor, offsets: Tensor, count: int) -> Tensor:
    """Return the gradient of the features as it follows from that of the maxima, which may be differentiated."""
    rows = sources.long()[offsets[:-1, None].long() + winners.long()]
    return gradient.new_zeros(count, gradient.shape[1]).scatter_add(0, rows, gradient)


def overall_max(features: Tensor, kernel: bool) -> Tensor:
    """Maximum of features (R, V, B, C) over vertices and spheres, (B, C); the gradient goes to one of equal ones."""
    rows = features.flatten(0, 1).flatten(1)
    if not transformed() and not (torch.is_grad_enabled() and features.requires_grad):
        maximum = rows.amax(dim=0)
    elif kernel and len(rows) < 2**31:
        maximum = _overall_max(rows)[0]
    else:
        maximum = rows.max(dim=0).values
    return maximum.view(features.shape[2:])


def _max_forward(features: Tensor, sources: Tensor, offsets: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    maximum, winners = library.max_forward(features.contiguous(), sources, offsets, winners=rest[-1])
    return maximum, empty((0,), torch.uint8) if winners is None else winners


def _max_forward_fake(features: Tensor, sources: Tensor, offsets: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    maximum = features.new_empty(len(offsets) - 1, features.shape[1])
    return maximum, maximum.new_empty(maximum.shape if rest[-1] else 0, dtype=torch.uint8)


def _max_backward(gradient: Tensor, *tables: Tensor) -> Tensor:
    return library.max_backward(gradient.contiguous(), *tables)


def _max_backward_fake(gradient: Tensor, *tables: Tensor) -> Tensor:
    return gradient.new_empty(len(tables[-1]) - 1, gradient.shape[1])


def _max_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *inputs[1:6])


def _max_gradients(ctx: Any, gradient: Tensor | None, nothing: None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return (None,) * 7
    winners, sources, offsets, *readers = ctx.saved_tensors
    if torch.is_grad_enabled():
        result = _differentiable_backward(gradient, winners, sources, offsets, len(readers[-1]) - 1)
    else:
        result = _neighbour_max_backward(gradient, winners, *readers)
    return (result, *[None] * 6)


def _overall_forward(rows: Tensor) -> tuple[Tensor, Tensor]:
    return library.overall_max(rows.contiguous())


def _overall_fake(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.new_empty(rows.shape[1]), rows.new_empty(rows.shape[1], dtype=torch.int64)


def _overall_setup(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.shape = inputs[0].shape


def _overall_gradients(ctx: Any, gradient: Tensor | None, nothing: None) -> Tensor | None:
    (winners,) = ctx.saved_tensors
    if gradient is None:
        return None
    zeros, index, values = gradient.new_zeros(ctx.shape), winners[None], gradient[None]
    return zeros.scatter(0, index, values) if torch.is_grad_enabled() else zeros.scatter_(0, index, values)


_neighbour_max = register(
    "neighbour_max",
    "(Tensor features, Tensor sources, Tensor offsets, Tensor targets, Tensor places, Tensor reverse_offsets, "
    "bool wanted) -> (Tensor, Tensor)",
    _max_forward,
    _max_forward_fake,
)
_neighbour_max_backward = register(
    "neighbour_max_backward",
    "(Tensor gradient, Tensor winners, Tensor targets, Tensor places, Tensor reverse_offsets) -> Tensor",
    _max_backward,
    _max_backward_fake,
)
_overall_max = register("overall_max", "(Tensor rows) -> (Tensor, Tensor)", _overall_forward, _overall_fake)
torch.library.register_autograd(f"{NAMESPACE}::neighbour_max", _max_gradients, setup_context=_max_setup, lib=LIBRARY)
torch.library.register_autograd(
    f"{NAMESPACE}::overall_max", _overall_gradients, setup_context=_overall_setup, lib=LIBRARY
)
