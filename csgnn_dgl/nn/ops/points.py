"""Searches in point clouds: which points are near, and which are spread out. Indices, without gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.registry import register

EXACT_UP_TO = 3
"""Coordinates up to which distances are sums of squared differences; above, they come from a matrix product."""


def nearest(points: Tensor, queries: Tensor, count: int) -> Tensor:
    """Find the `count` nearest points of each query, from near to far.

    In space, squared distances are sums of squared differences, the same bits for a pair wherever it stands, so that
    neither the order of the points nor the other clouds of a batch change an answer, and a rotation only where two
    distances are equal to rounding. In more than three dimensions a matrix product does it, faster and less exactly.

    Parameters
    ----------
    points
        (B, N, D) positions.
    queries
        (B, M, D) positions. A query that is itself a point finds itself first.
    count
        Number K of neighbours, at most N.

    Returns
    -------
    torch.Tensor
        (B, M, K) int64: places of the points in their cloud.

    Raises
    ------
    ValueError
        If a cloud has fewer than `count` points.
    """
    if not 0 < count <= points.shape[1]:
        raise ValueError(f"{count} neighbours asked for in clouds of {points.shape[1]} points; give more points")
    return _nearest(points.detach(), queries.detach(), count)


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Spread `count` points over each cloud: each one is the farthest from all before it.

    The first is the farthest from the cloud's centroid, so that the order of the points does not matter, nor how the
    cloud is turned, but for distances that are equal to rounding.

    Parameters
    ----------
    points
        (B, N, 3) positions.
    count
        Number M of points, at most N.

    Returns
    -------
    torch.Tensor
        (B, M) int64: places in the cloud.

    Raises
    ------
    ValueError
        If a cloud has fewer than `count` points.
    """
    if not 0 < count <= points.shape[1]:
        raise ValueError(f"{count} representatives asked for in clouds of {points.shape[1]} points; give more points")
    return _farthest_points(points.detach(), count)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """Take the values (B, N, C) at the places `index` (B, ...) of each cloud: (B, ..., C)."""
    clouds, size, channels = values.shape
    first = torch.arange(0, clouds * size, max(size, 1), device=index.device)
    rows = index + first.view(-1, *[1] * (index.dim() - 1))
    return values.reshape(-1, channels).index_select(0, rows.reshape(-1)).view(*index.shape, channels)


def _search(points: Tensor, queries: Tensor, count: int) -> Tensor:
    found = torch.empty(*queries.shape[:2], count, dtype=torch.int64, device=points.device)
    for cloud, (own, asked) in enumerate(zip(points, queries, strict=True)):  # the distances of one fit into the cache
        if own.shape[-1] <= EXACT_UP_TO:
            distance = _squared(asked[:, None, 0], own[None, :, 0])
            for axis in range(1, own.shape[-1]):
                distance += _squared(asked[:, None, axis], own[None, :, axis])
        else:
            # ‖q‖² is the same for all points of a query
            distance = torch.addmm(own.square().sum(dim=1), asked, own.t(), alpha=-2)
        found[cloud] = _smallest(distance, count)
    return found


def _smallest(numbers: Tensor, count: int) -> Tensor:
    """Return the places (M, K) of the smallest numbers of each row (M, N), from the smallest on."""
    if numbers.device.type == "cpu" and numbers.dtype in (torch.float32, torch.float64) and library.available():
        return library.smallest(numbers, count)
    return numbers.topk(count, dim=1, largest=False, sorted=True).indices


def _squared(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square_()


def _spread(points: Tensor, count: int) -> Tensor:
    x, y, z = (points - points.mean(dim=1, keepdim=True)).unbind(-1)
    clouds = torch.arange(len(points), device=points.device)
    chosen = torch.empty(len(points), count, dtype=torch.int64, device=points.device)
    latest = (x * x + y * y + z * z).argmax(dim=1)
    nearest_chosen = torch.full_like(x, float("inf"))
    for step in range(count):
        chosen[:, step] = latest
        distance = _squared(x, x[clouds, latest][:, None])
        distance += _squared(y, y[clouds, latest][:, None])
        distance += _squared(z, z[clouds, latest][:, None])
        torch.minimum(nearest_chosen, distance, out=nearest_chosen)
        latest = nearest_chosen.argmax(dim=1)
    return chosen


_nearest = register(
    "nearest",
    "(Tensor points, Tensor queries, SymInt count) -> Tensor",
    _search,
    lambda points, queries, count: points.new_empty(*queries.shape[:2], count, dtype=torch.int64),
    key="CompositeExplicitAutograd",
)
_farthest_points = register(
    "farthest_points",
    "(Tensor points, SymInt count) -> Tensor",
    _spread,
    lambda points, count: points.new_empty(points.shape[0], count, dtype=torch.int64),
    key="CompositeExplicitAutograd",
)
