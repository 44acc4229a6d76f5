"""Neighbourhoods of equal size, as they are found anew for every batch, in compressed form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from csgnn_dgl.nn.ops.intra import Edges

MOST_NEIGHBOURS = 256
"""The place of a neighbour among those of its point is a byte."""


class Neighbourhoods(NamedTuple):
    """Who reads whom among the B·N points of a batch: tables of the meaning that they have in a `PoolingRelation`.

    Attributes
    ----------
    sources, offsets
        Point i reads ``sources[offsets[i]:offsets[i + 1]]``.
    targets, reverse_offsets
        Point j is read by ``targets[reverse_offsets[j]:reverse_offsets[j + 1]]``. All are int32.
    places
        (B·N·K,) uint8: point ``targets[e]`` reads as number ``places[e]`` of its own.
    """

    sources: Tensor
    offsets: Tensor
    targets: Tensor
    places: Tensor
    reverse_offsets: Tensor

    @classmethod
    def of(cls, neighbours: Tensor) -> Neighbourhoods:
        """Compress neighbours (B, N, K), which are places in their own cloud; K is at most `MOST_NEIGHBOURS`."""
        clouds, size, count = neighbours.shape
        device = neighbours.device
        first = torch.arange(0, clouds * size, size, dtype=torch.int32, device=device)
        sources = (neighbours.int() + first[:, None, None]).flatten()
        offsets = torch.arange(0, len(sources) + 1, count, dtype=torch.int32, device=device)
        # not bincount, whose result compilers do not know the size of
        times_read = sources.new_zeros(clouds * size).scatter_add_(0, sources.long(), torch.ones_like(sources))
        by_source = sources.argsort(stable=True)
        targets = by_source.div(count, rounding_mode="floor")
        places = by_source - targets * count
        reverse_offsets = nn.functional.pad(times_read.cumsum(0), (1, 0)).int()
        return cls(sources, offsets, targets.int(), places.to(torch.uint8), reverse_offsets)

    @property
    def edges(self) -> Edges:
        """The same without places."""
        return Edges(self.sources, self.offsets, self.targets, self.reverse_offsets)

    @property
    def times_read(self) -> Tensor:
        """(B·N,) by how many points each one is read."""
        return self.reverse_offsets.diff()
