"""Clouds of different sizes, their points one after the other: voxel grids, and who lies within a radius of whom."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Clouds(NamedTuple):
    """The P points of B clouds, cloud after cloud.

    Attributes
    ----------
    points
        (P, 3) positions.
    cells
        (P, 3) int64: the cell of a grid that each point lies in.
    offsets
        (B + 1,) int64: cloud b has the points ``offsets[b]`` to ``offsets[b + 1] - 1``.
    """

    points: Tensor
    cells: Tensor
    offsets: Tensor

    def mean(self, features: Tensor) -> Tensor:
        """Return the means (B, C) of features (P, C) over the points of each cloud."""
        return bags(features, torch.arange(len(features), device=features.device), self.offsets, "mean")


class Neighbourhoods(NamedTuple):
    """Who lies within a radius of M queries: E pairs, query after query, with the supports of each in ascending order.

    Attributes
    ----------
    query, support
        (E,) int64: the two of each pair.
    vectors
        (3, E) from the query to the support.
    offsets
        (M + 1,) int64: query m has the pairs ``offsets[m]`` to ``offsets[m + 1] - 1``.
    """

    query: Tensor
    support: Tensor
    vectors: Tensor
    offsets: Tensor

    @property
    def num_queries(self) -> int:
        """Number of queries M."""
        return len(self.offsets) - 1

    def maximum(self, features: Tensor) -> Tensor:
        """Return the maxima (M, C) of features (P, C) over the neighbours of each query, and 0 where there are none."""
        return bags(features, self.support, self.offsets, "max")


def grid_subsampling(points: Tensor, cell_size: float) -> Clouds:
    """Replace the points of each cloud in each occupied cell of a grid by their barycentre.

    The grid's planes are at the multiples of `cell_size`, so that a cloud's grid is its own. Barycentres are sorted by
    cell, and their sums are taken in float64, in which sums of a cell's float32 coordinates have no roundings to speak
    of: the order of the points does not matter.

    Parameters
    ----------
    points
        (B, N, 3) positions.
    cell_size
        Edge of the cells.

    Returns
    -------
    Clouds
        The barycentres.
    """
    clouds, size, _ = points.shape
    cells = (points.detach() / cell_size).floor().long().view(-1, 3)
    return _barycentres(
        points.reshape(-1, 3), cells, torch.arange(clouds, device=points.device).repeat_interleave(size)
    )


def coarser(clouds: Clouds) -> Clouds:
    """Replace the points in each cell of a grid with cells twice as large by their barycentre."""
    owner = torch.arange(len(clouds.offsets) - 1, device=clouds.offsets.device).repeat_interleave(clouds.offsets.diff())
    return _barycentres(clouds.points, clouds.cells >> 1, owner)


def within_radius(supports: Clouds, queries: Clouds, radius: float) -> Neighbourhoods:
    """Find the points of `supports` nearer than `radius` to each point of `queries`, within the same cloud.

    Squared distances are sums of squared differences, the same bits for a pair whatever the other clouds.
    """
    found = []
    places = zip(*(clouds.offsets.tolist() for clouds in (supports, queries)), strict=True)
    (first, first_query), *ends = places
    own, asked = supports.points.detach().t().contiguous(), queries.points.detach().t().contiguous()
    for last, last_query in ends:  # the distances of one cloud fit into the cache
        distance = torch.zeros((), dtype=own.dtype, device=own.device)
        for axis in range(3):
            distance = distance + (asked[axis, first_query:last_query, None] - own[axis, None, first:last]).square_()
        pairs = (distance < radius * radius).nonzero()
        pairs += pairs.new_tensor([first_query, first])
        found.append(pairs)
        first, first_query = last, last_query
    query, support = torch.cat(found).t().contiguous()
    counts = torch.bincount(query, minlength=len(queries.points))
    vectors = supports.points.t().index_select(1, support) - queries.points.t().index_select(1, query)
    return Neighbourhoods(query, support, vectors, from_counts(counts))


def from_counts(counts: Tensor) -> Tensor:
    """Return where each of some runs begins, and where the last one ends, from their lengths."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def bags(values: Tensor, index: Tensor, offsets: Tensor, mode: str, weights: Tensor | None = None) -> Tensor:
    """Reduce ``values[index]``, times the weights where given, over the runs of `index` that `offsets` bounds."""
    return embedding_bag(index, values, offsets, mode=mode, per_sample_weights=weights, include_last_offset=True)


def _barycentres(points: Tensor, cells: Tensor, owner: Tensor) -> Clouds:
    low, high = cells.aminmax(dim=0)
    key = owner
    for axis, extent in enumerate((high - low + 1).unbind()):
        key = key * extent + (cells[:, axis] - low[axis])
    key, order = key.sort(stable=True)
    _, counts = key.unique_consecutive(return_counts=True)
    offsets = from_counts(counts)
    means = bags(points.double(), order, offsets, "mean").to(points.dtype)
    chosen = order[offsets[:-1]]
    clouds = torch.bincount(owner[chosen], minlength=int(owner[-1]) + 1)
    return Clouds(means, cells[chosen], from_counts(clouds))
