"""Who reads whom, in the compressed form that the fast sums run on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Relation(nn.Module):
    """A set of edges, compressed by target (CSR) and by source (CSC); its tables are buffers that no state_dict holds.

    Parameters
    ----------
    source, target
        (E,) node indices of the edges.
    shape
        Number of source nodes and of target nodes.
    copies
        How many times the edges stand side by side: those of R spheres follow from those of one.

    Attributes
    ----------
    sources, offsets
        Target t reads the nodes ``sources[offsets[t]:offsets[t + 1]]``, in the order of the edge list.
    targets, reverse_offsets
        Source s is read by the nodes ``targets[reverse_offsets[s]:reverse_offsets[s + 1]]``, in the same order.
    padded
        (targets, most sources of a target) the same sources; the number of source nodes, where a target has fewer.
        All are int32, or int64 where that does not suffice.
    """

    padded: Tensor
    sources: Tensor
    offsets: Tensor
    targets: Tensor
    reverse_offsets: Tensor

    def __init__(self, source: Tensor, target: Tensor, shape: tuple[int, int], copies: int = 1) -> None:
        super().__init__()
        self._elsewhere: dict[str, Self] = {}
        dtype = torch.int32 if copies * max(len(source), *shape) < 2**31 else torch.int64
        by_target, by_source = torch.argsort(target, stable=True), torch.argsort(source, stable=True)
        self._add("sources", side_by_side(source[by_target], shape[0], copies).to(dtype))
        self._add("offsets", _offsets(target, shape[1], copies).to(dtype))
        self._add("targets", side_by_side(target[by_source], shape[1], copies).to(dtype))
        self._add("reverse_offsets", _offsets(source, shape[0], copies).to(dtype))
        padded = _table(target[by_target], source[by_target], shape[1], missing=copies * shape[0])
        self._add("padded", side_by_side(padded, shape[0], copies).clamp(max=copies * shape[0]).to(dtype))

    def on(self, device: torch.device | str) -> Self:
        """Return the relation itself if it is on `device`, else a copy there, which is kept."""
        if self.sources.device == torch.device(device):
            return self
        if str(device) not in self._elsewhere:
            self._elsewhere[str(device)] = copy.deepcopy(self).to(device)
        return self._elsewhere[str(device)]

    def _add(self, name: str, table: Tensor) -> None:
        self.register_buffer(name, table.contiguous(), persistent=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_elsewhere": {}}


class PoolingRelation(Relation):
    """The edges of a pooling step, with the tables that a maximum and its gradient need.

    Parameters
    ----------
    source, target, shape, copies
        As in :class:`Relation`, ordered by target; every target must have 1 to 256 sources.

    Attributes
    ----------
    table
        (targets, most sources of a target) int64: the sources of each target; shorter rows repeat their first.
    places
        (E,) uint8: target ``targets[e]`` reads its source as number ``places[e]`` of its own list.
    readers_table, places_table
        ``targets`` and ``places`` as (sources, most readers of a source) int64 and int32; missing ones have place -1.
    """

    table: Tensor
    places: Tensor
    readers_table: Tensor
    places_table: Tensor

    def __init__(self, source: Tensor, target: Tensor, shape: tuple[int, int], copies: int = 1) -> None:
        super().__init__(source, target, shape, copies)
        self._add("table", torch.where(self.padded < copies * shape[0], self.padded, self.padded[:, :1]).long())

        by_source = torch.argsort(source, stable=True)
        places = _ranks(target, shape[1])[by_source]
        self._add("places", places.to(torch.uint8).repeat(copies))
        readers_table = _table(source[by_source], target[by_source], shape[0], missing=0)
        self._add("readers_table", side_by_side(readers_table, shape[1], copies))
        self._add("places_table", _table(source[by_source], places.int(), shape[0], missing=-1).repeat(copies, 1))


def side_by_side(nodes: Tensor, count: int, copies: int) -> Tensor:
    """Return indices (E, ...) of `count` nodes `copies` times over, (copies · E, ...), each time of further nodes."""
    shifts = count * torch.arange(copies, device=nodes.device).view(-1, *[1] * nodes.dim())
    return (nodes + shifts).flatten(0, 1)


def _ranks(rows: Tensor, count: int) -> Tensor:
    """Return the place of each of ascending rows (E,) among its equals."""
    degree = torch.bincount(rows, minlength=count)
    return torch.arange(len(rows), device=rows.device) - (degree.cumsum(0) - degree)[rows]


def _table(rows: Tensor, values: Tensor, count: int, missing: int) -> Tensor:
    """Return values (E,) of ascending rows (E,) side by side, (count, most of a row), filled up with `missing`."""
    ranks = _ranks(rows, count)
    table = values.new_full((count, int(ranks.max()) + 1 if len(ranks) else 0), missing)
    table[rows, ranks] = values
    return table


def _offsets(nodes: Tensor, count: int, copies: int) -> Tensor:
    counts = torch.bincount(nodes, minlength=count).repeat(copies)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
