"""Sums over neighbours, and the convolution within spheres (Eq. 2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from csgnn_dgl._compilers import traced
from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.registry import autocast_operands, register_convolution


class Edges(NamedTuple):
    """Who reads whom, as the tables of a :class:`~csgnn_dgl.graphs.Relation` of the same names."""

    sources: Tensor
    offsets: Tensor
    targets: Tensor
    reverse_offsets: Tensor
    padded: Tensor | None = None

    @classmethod
    def of(cls, relation: Relation) -> Edges:
        """Return the tables of a relation."""
        return cls(relation.sources, relation.offsets, relation.targets, relation.reverse_offsets, relation.padded)

    @property
    def reverse(self) -> Edges:
        """The same edges with source and target exchanged."""
        return Edges(self.targets, self.reverse_offsets, self.sources, self.offsets)


def neighbour_sum(features: Tensor, edges: Edges) -> Tensor:
    """Sum the sources of each target, (sources, M) to (targets, M): y_t = Σ_{s → t} x_s, the same bits at every run."""
    if edges.padded is not None and traced():
        return _sum_by_reading(features, edges.padded)
    return _NeighbourSum.apply(features, *edges[:4])


def _sum_by_reading(features: Tensor, padded: Tensor) -> Tensor:
    """Compute `neighbour_sum` in operators that every exporter knows."""
    rows = torch.cat([features, features.new_zeros(1, features.shape[1])])
    result = features.new_zeros(len(padded), features.shape[1])
    for sources in padded.unbind(dim=1):
        result = result + rows.index_select(0, sources)
    return result


class _NeighbourSum(torch.autograd.Function):
    """Each row is read once per edge and each result written once, forth and back, without atomics."""

    @staticmethod
    def forward(features: Tensor, *edges: Tensor) -> Tensor:
        sources, offsets = edges[:2]
        return torch.nn.functional.embedding_bag(
            sources, features.contiguous(), offsets, mode="sum", include_last_offset=True
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.edges = Edges(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _NeighbourSum.apply(gradient, *ctx.edges.reverse[:4]), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *nothing: None) -> Tensor:
        return _NeighbourSum.apply(tangent, *ctx.edges[:4])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], features: Tensor, *edges: Tensor) -> tuple[Tensor, int]:
        rows = features.movedim(in_dims[0] or 0, -1)
        return _NeighbourSum.apply(rows.flatten(1), *edges).unflatten(1, rows.shape[1:]), 2


def intra(features: Tensor, weight: Tensor, bias: Tensor | None, edges: Edges, kernel: bool) -> Tensor:
    """Sum the sources of each node of features (R, V, B, C) and multiply: y_v = Σ_{u → v} x_u W + b, (R, V, B, F)."""
    if kernel:
        return _intra(features.to(library.storage(features.dtype)), weight, bias, *edges[:4])
    features, weight = autocast_operands(features, weight)
    return intra_in_torch(features, weight, bias, edges)


def intra_in_torch(features: Tensor, weight: Tensor, bias: Tensor | None, edges: Edges) -> Tensor:
    """Compute `intra` with the sum on the narrower side of the matrix product."""
    if weight.shape[0] <= weight.shape[1]:
        return torch.nn.functional.linear(_sum_grid(features, edges), weight.T, bias)
    result = _sum_grid(features @ weight, edges)
    return result if bias is None else result + bias.to(result.dtype)


def _sum_grid(features: Tensor, edges: Edges) -> Tensor:
    spheres, vertices = features.shape[:2]
    return neighbour_sum(features.reshape(spheres * vertices, -1), edges).view(features.shape)


_intra = register_convolution(
    "intra",
    ("sources", "offsets", "targets", "reverse_offsets"),
    library.intra_forward,
    library.intra_backward,
    lambda features, weight, bias, *tables: intra_in_torch(features, weight, bias, Edges(*tables)),
)
