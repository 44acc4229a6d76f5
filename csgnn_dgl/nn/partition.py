"""Clouds cut into halves, and the halves into halves: the order of a balanced kd-tree. Indices, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from csgnn_dgl.nn.ops.points import gather

Cut = Literal["kd", "pca"]
"""What a part of a cloud is cut across: the coordinate axis along which it is widest, or its principal axis."""


def tree_order(points: Tensor, depth: int, cut: Cut = "kd") -> Tensor:
    """Order points by the parts of a tree: each cut splits every part at its median.

    The p-th of P = 2^depth parts has the places ⌊pN / P⌋ to ⌊(p + 1)N / P⌋ - 1 of the order, so that no two differ by
    more than one point. The order of the points in the cloud does not matter: they are sorted by their coordinates
    first, and a part keeps that order where points are equally far along an axis.

    Parameters
    ----------
    points
        (B, N, 3) positions.
    depth
        Number of cuts from the cloud to a part.
    cut
        ``"kd"`` or ``"pca"``. The parts of the second turn with the cloud, but for axes of equal variance.

    Returns
    -------
    torch.Tensor
        (B, N) int64: places in the cloud.
    """
    points = points.detach()
    order = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    for axis in (2, 1, 0):
        order = order.gather(1, points[..., axis].gather(1, order).argsort(dim=1, stable=True))
    for level in range(depth):
        order = _halve(points, order, 2**level, ALONG[cut])
    return order


def parts(count: int, number: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the places of `count` points that each of the parts has, and which of these repeat the last one.

    Returns
    -------
    tuple of torch.Tensor
        (number, S) int64 and bool, S being the size of the largest part.
    """
    edges = torch.arange(number + 1, device=device) * count // number
    places = edges[:-1, None] + torch.arange(-(-count // number), device=device)
    return places.minimum(edges[1:, None] - 1), places >= edges[1:, None]


def _halve(points: Tensor, order: Tensor, number: int, along: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Sort each part of the order along its axis."""
    count = order.shape[1]
    places, repeated = parts(count, number, points.device)
    members = order[:, places]
    position = along(gather(points, members), repeated).masked_fill(repeated, float("inf"))
    members = members.gather(2, position.argsort(dim=2, stable=True))
    # A part's own members come first: place n of the order is in part ⌈(n + 1)·number / count⌉ - 1.
    place = torch.arange(count, device=points.device)
    part = ((place + 1) * number - 1) // count
    return members[:, part, place - part * count // number]


def _along_widest(nodes: Tensor, repeated: Tensor) -> Tensor:
    """Return the coordinate of points (B, P, S, 3) along the widest axis of each part, (B, P, S)."""
    widest = (nodes.amax(dim=2) - nodes.amin(dim=2)).argmax(dim=2)
    return nodes.gather(3, widest[:, :, None, None].expand(*nodes.shape[:3], 1))[..., 0]


def _along_principal(nodes: Tensor, repeated: Tensor) -> Tensor:
    """Return the coordinate along the axis of largest variance, which points to where the third moment is positive."""
    own = (~repeated).to(nodes.dtype)[None, :, :, None]
    centred = (nodes - (nodes * own).sum(dim=2, keepdim=True) / own.sum(dim=2, keepdim=True)) * own
    _, axes = torch.linalg.eigh(centred.mT @ centred)
    position = (centred @ axes[..., -1:])[..., 0]
    third = (position**3).sum(dim=2, keepdim=True)
    return torch.where(third < 0, -position, position)


ALONG: dict[Cut, Callable[[Tensor, Tensor], Tensor]] = {"kd": _along_widest, "pca": _along_principal}
