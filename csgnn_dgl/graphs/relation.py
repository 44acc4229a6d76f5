"""Who reads whom, in the compressed form that the fast sums run on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Relation:
    """A set of edges, compressed by target and by source.

    Attributes
    ----------
    sources, offsets
        Target t reads the nodes ``sources[offsets[t]:offsets[t + 1]]``.
    targets, reverse_offsets
        Source s is read by the nodes ``targets[reverse_offsets[s]:reverse_offsets[s + 1]]``.
    """

    sources: Tensor
    offsets: Tensor
    targets: Tensor
    reverse_offsets: Tensor

    @classmethod
    def from_edges(cls, source: Tensor, target: Tensor, shape: tuple[int, int]) -> Relation:
        """Compress an edge list.

        Parameters
        ----------
        source, target
            (E,) node indices.
        shape
            Number of source nodes and of target nodes.

        Returns
        -------
        Relation
            The same edges; within a target (or source) in the order of the edge list. int32 where it suffices.
        """
        dtype = torch.int32 if max(len(source), *shape) < 2**31 else torch.int64
        by_target, by_source = torch.argsort(target, stable=True), torch.argsort(source, stable=True)
        return cls(
            source[by_target].to(dtype),
            _offsets(target, shape[1]).to(dtype),
            target[by_source].to(dtype),
            _offsets(source, shape[0]).to(dtype),
        )

    @cached_property
    def table(self) -> Tensor:
        """(targets, most sources of a target) int64: the sources of each target; shorter rows repeat their first.

        Every target must have a source.
        """
        degree = self.offsets.diff().long()
        position = torch.arange(int(degree.max()), device=degree.device)
        start = self.offsets[:-1, None].long()
        return self.sources.long()[start + torch.where(position < degree[:, None], position, 0)]

    @cached_property
    def readers(self) -> tuple[Tensor, Tensor]:
        """The targets that read each source, as `targets` but ordered by target, and the place of the source in each.

        ``(targets, places)``, (E,) int32 or int64 and (E,) uint8: target ``targets[e]`` reads the source as number
        ``places[e]`` of its own list. No target may have more than 256 sources.
        """
        count = self.offsets.diff().long()
        if len(count) and int(count.max()) > 256:
            raise ValueError(f"a target has {int(count.max())} sources; their places are counted to 256 at most")
        target = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        place = torch.arange(len(target), device=count.device) - self.offsets.long()[target]
        order = torch.argsort(self.sources, stable=True)
        return target[order].to(self.sources.dtype), place[order].to(torch.uint8)

    @cached_property
    def readers_table(self) -> tuple[Tensor, Tensor]:
        """`readers` as two tables (sources, most readers of a source), int64 and int16; missing ones have place -1."""
        targets, places = self.readers
        count = self.reverse_offsets.diff().long()
        row = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        column = torch.arange(len(row), device=count.device) - self.reverse_offsets.long()[row]
        shape = (len(count), int(count.max()) if len(count) else 0)
        target = torch.zeros(shape, dtype=torch.int64, device=count.device)
        place = torch.full(shape, -1, dtype=torch.int16, device=count.device)
        target[row, column], place[row, column] = targets.long(), places.to(torch.int16)
        return target, place

    @property
    def reverse(self) -> Relation:
        """The same edges with source and target exchanged."""
        return Relation(self.targets, self.reverse_offsets, self.sources, self.offsets)

    def to(self, device: torch.device | str) -> Relation:
        """Return the relation on another device."""
        return Relation(
            self.sources.to(device),
            self.offsets.to(device),
            self.targets.to(device),
            self.reverse_offsets.to(device),
        )


def _offsets(nodes: Tensor, count: int) -> Tensor:
    return torch.cat([nodes.new_zeros(1), torch.bincount(nodes, minlength=count).cumsum(0)])
