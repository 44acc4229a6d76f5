"""Sums and maxima over the sources of each target, with gradients: what message passing computes, without messages.

Forward and backward both read each row of the features from memory once per edge at the most and write each result
once; nothing is accumulated by atomics, so results are the same at every run.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from csgnn_dgl.graphs.relation import PoolingRelation, Relation
from csgnn_dgl.nn.ops import library


def neighbour_sum(features: Tensor, relation: Relation) -> Tensor:
    """Sum over the sources of each target: y_t = Σ_{s → t} x_s.

    Parameters
    ----------
    features
        (sources, M) real numbers.
    relation
        The edges.

    Returns
    -------
    torch.Tensor
        (targets, M).
    """
    forth, back = (relation.sources, relation.offsets), (relation.targets, relation.reverse_offsets)
    return _NeighbourSum.apply(features, *forth, *back)


def neighbour_max(features: Tensor, relation: PoolingRelation, compiled: bool = False) -> Tensor:
    """Maximum over the sources of each target: y_t = max_{s → t} x_s; every target has at least one source.

    The gradient goes to the first of equal sources.

    Parameters
    ----------
    features
        (sources, M) real numbers.
    relation
        The edges.
    compiled
        Whether to use the compiled kernels, for float32 and float64 on the CPU.

    Returns
    -------
    torch.Tensor
        (targets, M).
    """
    return _NeighbourMax.apply(features, relation, compiled)


def overall_max(features: Tensor) -> Tensor:
    """Maximum over all vertices and spheres.

    The gradient goes to one of equal vertices.

    Parameters
    ----------
    features
        (R, V, B, C) real numbers.

    Returns
    -------
    torch.Tensor
        (B, C).
    """
    rows = features.reshape(-1, features.shape[2] * features.shape[3])
    if not (torch.is_grad_enabled() and features.requires_grad):
        return rows.amax(dim=0).view(features.shape[2:])
    return _OverallMax.apply(rows).view(features.shape[2:])


def _bag_sum(features: Tensor, sources: Tensor, offsets: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(sources, features, offsets, mode="sum", include_last_offset=True)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, sources: Tensor, offsets: Tensor, targets: Tensor, reverse_offsets: Tensor
    ) -> Tensor:
        ctx.tables = targets, reverse_offsets, sources, offsets
        return _bag_sum(features.contiguous(), sources, offsets)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _NeighbourSum.apply(gradient, *ctx.tables), None, None, None, None


class _NeighbourMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, relation: PoolingRelation, compiled: bool) -> Tensor:
        features = features.contiguous()
        wanted = ctx.needs_input_grad[0]
        if compiled:
            maximum, winners = library.max_forward(features, relation.sources, relation.offsets, winners=wanted)
        else:
            maximum, winners = _largest(features, relation, wanted)
        ctx.relation, ctx.compiled = relation, compiled
        if winners is not None:
            ctx.save_for_backward(winners)
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (winners,) = ctx.saved_tensors
        relation = ctx.relation
        if ctx.compiled:
            readers = (relation.targets, relation.places, relation.reverse_offsets)
            return library.max_backward(gradient.contiguous(), winners, *readers), None, None
        # Each source looks up the targets that read it: no atomics, so the same bits at every run.
        result = gradient.new_zeros(())
        for target, place in zip(relation.readers_table.unbind(1), relation.places_table.unbind(1), strict=True):
            won = winners.index_select(0, target) == place[:, None]
            result = result + gradient.index_select(0, target).masked_fill_(~won, 0)
        return result, None, None


def _largest(features: Tensor, relation: PoolingRelation, winners_wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Return the maxima, and the place of each among the sources of its target."""
    first, *others = relation.table.unbind(dim=1)
    maximum = features.index_select(0, first)
    winners = torch.zeros_like(maximum, dtype=torch.uint8) if winners_wanted else None
    for position, sources in enumerate(others, start=1):
        candidates = features.index_select(0, sources)
        if winners is not None:
            # Later positions are larger numbers: a maximum of bytes is faster than a masked fill.
            torch.maximum(winners, (candidates > maximum).view(torch.uint8) * position, out=winners)
        torch.maximum(maximum, candidates, out=maximum)
    return maximum, winners


class _OverallMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        if library.fit(rows) and len(rows) < 2**31:
            maximum, winners = library.overall_max(rows.contiguous())
        else:
            maximum, winners = rows.max(dim=0)
        ctx.save_for_backward(winners)
        ctx.shape = rows.shape
        return maximum

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (winners,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).scatter_(0, winners[None], gradient[None])
