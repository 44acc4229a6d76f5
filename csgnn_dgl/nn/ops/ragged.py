"""Clouds of different sizes, their points one after the other: voxel grids, and who lies within a radius of whom."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag


class Clouds(NamedTuple):
    """The P points of B clouds, cloud after cloud.

    Attributes
    ----------
    points
        (P, 3) positions.
    cells
        (P, 3) int64: the cell of a grid that each point lies in.
    cell_size
        Edge of the cells.
    owner
        (P,) int64: the cloud that each point belongs to.
    offsets
        (B + 1,) int64: cloud b has the points ``offsets[b]`` to ``offsets[b + 1] - 1``.
    """

    points: Tensor
    cells: Tensor
    cell_size: float
    owner: Tensor
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
    owner = torch.arange(clouds, device=points.device).repeat_interleave(size)
    return _barycentres(points.reshape(-1, 3), cells, cell_size, owner)


def coarser(clouds: Clouds) -> Clouds:
    """Replace the points in each cell of a grid with cells twice as large by their barycentre."""
    return _barycentres(clouds.points, clouds.cells >> 1, 2 * clouds.cell_size, clouds.owner)


def within_radius(supports: Clouds, queries: Clouds, radius: float) -> Neighbourhoods:
    """Find the points of `supports` nearer than `radius` to each point of `queries`, within the same cloud.

    Supports are sorted by their cells. So in each plane of cells across the first axis, those in the rows that a query
    reaches along the second follow each other, and these alone are candidates. Squared distances are sums of squared
    differences, the same bits for a pair whatever the other clouds.
    """
    points, asked = (clouds.points.detach().t().contiguous() for clouds in (supports, queries))
    size, reach = supports.cell_size, 1.001 * radius  # a barycentre may be rounded out of its cell
    low, high = (values.tolist() for values in supports.cells.aminmax(dim=0))
    num_planes, num_rows = (high[axis] - low[axis] + 3 for axis in (0, 1))  # an empty one on each side

    def row(owner: Tensor, x: Tensor, y: Tensor) -> Tensor:
        plane = owner * num_planes + (x - low[0] + 1).clamp(0, num_planes - 1)
        return plane * num_rows + (y - low[1] + 1).clamp(0, num_rows - 1)

    def cell(positions: Tensor) -> Tensor:
        return (positions / size).floor().long()

    rows = row(supports.owner, supports.cells[:, 0], supports.cells[:, 1])
    planes = cell(asked[0] - reach)[:, None] + torch.arange(int(2 * reach / size) + 2, device=rows.device)
    owner = queries.owner[:, None]
    first = torch.searchsorted(rows, row(owner, planes, cell(asked[1] - reach)[:, None]))
    last = torch.searchsorted(rows, row(owner, planes, cell(asked[1] + reach)[:, None]), right=True)
    counts = last - first
    query = torch.arange(len(counts), device=rows.device).repeat_interleave(counts.sum(dim=1))
    counts = counts.flatten()
    support = (first.flatten() - (counts.cumsum(0) - counts)).repeat_interleave(counts)
    support += torch.arange(len(support), device=rows.device)
    squared = torch.zeros((), dtype=points.dtype, device=rows.device)
    for axis in range(3):
        gap = points[axis].index_select(0, support) - asked[axis].index_select(0, query)
        squared = squared + gap.square_()
    chosen = (squared < radius * radius).nonzero().squeeze(1)
    query, support = query.index_select(0, chosen), support.index_select(0, chosen)
    vectors = supports.points.t().index_select(1, support) - queries.points.t().index_select(1, query)
    return Neighbourhoods(query, support, vectors, from_counts(torch.bincount(query, minlength=len(queries.points))))


def from_counts(counts: Tensor) -> Tensor:
    """Return where each of some runs begins, and where the last one ends, from their lengths."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def weighted_sums(values: Tensor, weights: Tensor, index: Tensor, place: Tensor, count: int) -> Tensor:
    """Add ``weights[n] * values[index[n]]`` to the row ``place[n]`` of (count, C), for all n; `place` ascends."""
    offsets = from_counts(torch.bincount(place, minlength=count))
    return _WeightedSums.apply(values, weights, index, place, offsets)


def bags(values: Tensor, index: Tensor, offsets: Tensor, mode: str, weights: Tensor | None = None) -> Tensor:
    """Reduce rows ``values[index]``, times `weights` where given, over the runs of `index` that `offsets` bounds."""
    return embedding_bag(index, values, offsets, mode=mode, per_sample_weights=weights, include_last_offset=True)


def _barycentres(points: Tensor, cells: Tensor, cell_size: float, owner: Tensor) -> Clouds:
    low, high = cells.aminmax(dim=0)
    key = owner
    for axis, extent in enumerate((high - low + 1).unbind()):
        key = key * extent + (cells[:, axis] - low[axis])
    key, order = key.sort(stable=True)
    _, counts = key.unique_consecutive(return_counts=True)
    offsets = from_counts(counts)
    means = bags(points.double(), order, offsets, "mean").to(points.dtype)
    chosen = order.index_select(0, offsets[:-1])
    owner = owner.index_select(0, chosen)
    return Clouds(means, cells.index_select(0, chosen), cell_size, owner, from_counts(torch.bincount(owner)))


class _WeightedSums(torch.autograd.Function):
    """Weighted sums of rows, and the same of the gradient's rows for that of the values, in one order always."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor, index: Tensor, place: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(values, weights, index, place)
        return bags(values, index, offsets, "sum", weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        values, weights, index, place = ctx.saved_tensors
        of_values = of_weights = None
        if ctx.needs_input_grad[0]:
            order = index.argsort(stable=True)
            offsets = from_counts(torch.bincount(index, minlength=len(values)))
            rows, shares = place.index_select(0, order), weights.index_select(0, order)
            of_values = bags(gradient.contiguous(), rows, offsets, "sum", shares)
        if ctx.needs_input_grad[1]:
            of_weights = (values.index_select(0, index) * gradient.index_select(0, place)).sum(dim=1)
        return of_values, of_weights, None, None, None
