"""Sums and maxima over the sources of each target, with gradients: what message passing computes, without messages.

Forward and backward both read each row of the features from memory once per edge at the most and write each result
once; nothing is accumulated by atomics, so results are the same at every run.
"""

from typing import Any

import torch
from torch import Tensor

from csgnn_dgl.graphs.relation import Relation


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
    return _NeighbourSum.apply(features, relation)


def neighbour_max(features: Tensor, relation: Relation) -> Tensor:
    """Maximum over the sources of each target: y_t = max_{s → t} x_s; every target has at least one source.

    The gradient goes to the first of equal sources.

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
    return _NeighbourMax.apply(features, relation)


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
    return _OverallMax.apply(features.flatten(2)).view(features.shape[2:])


def _bag_sum(features: Tensor, sources: Tensor, offsets: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(sources, features, offsets, mode="sum", include_last_offset=True)


class _NeighbourSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, relation: Relation) -> Tensor:
        ctx.relation = relation
        return _bag_sum(features.contiguous(), relation.sources, relation.offsets)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _NeighbourSum.apply(gradient, ctx.relation.reverse), None


class _NeighbourMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, relation: Relation) -> Tensor:
        first, *others = relation.table.unbind(dim=1)
        maximum = features.index_select(0, first)
        winners = torch.zeros_like(maximum, dtype=torch.uint8)
        for position, sources in enumerate(others, start=1):
            candidates = features.index_select(0, sources)
            if ctx.needs_input_grad[0]:
                # Later positions are larger numbers: a maximum of bytes is faster than a masked fill.
                torch.maximum(winners, (candidates > maximum).view(torch.uint8) * position, out=winners)
            torch.maximum(maximum, candidates, out=maximum)
        ctx.relation, ctx.num_sources = relation, len(features)
        ctx.save_for_backward(winners)
        return maximum

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (winners,) = ctx.saved_tensors
        result = gradient.new_zeros(ctx.num_sources, gradient.shape[1])
        return result.scatter_add(0, ctx.relation.table.gather(1, winners.long()), gradient), None


class _OverallMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        # Plain maxima are several times as fast as maxima with indices: only the winning sphere is searched.
        maximum, sphere = features.amax(dim=1).max(dim=0)
        candidates = features.gather(0, sphere.expand(1, features.shape[1], -1))[0]
        ctx.save_for_backward(sphere * features.shape[1] + candidates.argmax(dim=0))
        ctx.shape = features.shape
        return maximum

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (winners,) = ctx.saved_tensors
        num_spheres, num_vertices, width = ctx.shape
        result = gradient.new_zeros(num_spheres * num_vertices, width)
        return result.scatter(0, winners[None], gradient[None]).view(ctx.shape)
