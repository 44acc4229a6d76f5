"""Kernels of spherical harmonics on neighbourhoods, block by block so that what one needs stays in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from csgnn_dgl.nn.harmonics import NUM_HARMONICS, solid_harmonics
from csgnn_dgl.nn.ops.registry import LIBRARY, NAMESPACE, differentiable_gradients, register

NUM_RADII = 2
NEAR = 0.01
"""Distance that nearer points count as having: a square root at 0 has an infinite gradient."""
LEAST_TOTAL = 1e-6
PAIRS = 2**16
"""Pairs of a point and a neighbour in a block."""


def harmonic_kernel(points: Tensor, index: Tensor, radius: float, summed: bool = False) -> Tensor:
    r"""Evaluate :math:`w_j(d)\,Y_{lm}(x / d)` for the neighbours of each point, divided by the total of j = l = 0.

    See :class:`~csgnn_dgl.nn.harmonic_conv.HarmonicConv`.

    Parameters
    ----------
    points
        (B, N, 3) positions.
    index
        (B, N, K) int64: places of the neighbours in their cloud.
    radius
        R.
    summed
        Whether to sum over the neighbours.

    Returns
    -------
    torch.Tensor
        (B, N, 32, K), by j, l and m; (B, N, 32) if summed.
    """
    return _operator(points, index, radius, summed)


def _of_rows(offsets: Sequence[Tensor], radius: float, summed: bool) -> Tensor:
    """Compute the kernel of offsets x, y, z, (R, K) each: (R, 32, K), or (R, 32) if summed."""
    x, y, z = offsets
    distance = (x * x + y * y + z * z).clamp(min=NEAR**2).sqrt()
    inverse = distance.reciprocal()
    scale = -0.5 / radius**2
    radial = torch.stack([(scale * (distance - j * radius).square()).exp() for j in range(NUM_RADII)], dim=1)
    harmonics = solid_harmonics(x * inverse, y * inverse, z * inverse)
    total = (radial[:, 0] * harmonics[0]).sum(dim=1) + LEAST_TOTAL
    radial = radial / total[:, None, None]
    if summed:
        return (radial @ torch.stack(harmonics, dim=2)).flatten(1)
    return (radial[:, :, None] * torch.stack(harmonics, dim=1)[:, None]).flatten(1, 2)


def _in_blocks(points: Tensor, index: Tensor, radius: float, summed: bool) -> Tensor:
    result = _shape(points, index, radius, summed)
    lines, rows = _flat(points, index)
    step = max(1, PAIRS // index.shape[2])
    for first in range(0, len(rows), step):
        own = slice(first, first + step)
        offsets = [line.take(rows[own]) - line[own, None] for line in lines]
        result.flatten(0, 1)[own] = _of_rows(offsets, radius, summed)
    return result


def _at_once(points: Tensor, index: Tensor, radius: float, summed: bool) -> Tensor:
    """Compute the kernel by torch's own operators."""
    lines, rows = _flat(points, index)
    offsets = [line.take(rows) - line[:, None] for line in lines]
    return _of_rows(offsets, radius, summed).unflatten(0, index.shape[:2])


def _flat(points: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return x, y, z of all points of all clouds, (3, B·N), and the places of their neighbours among them, (B·N, K)."""
    first = torch.arange(len(points), device=index.device)[:, None, None] * points.shape[1]
    return points.flatten(0, 1).t().contiguous(), (index + first).flatten(0, 1)


def _shape(points: Tensor, index: Tensor, radius: float, summed: bool) -> Tensor:
    return points.new_empty(*index.shape[:2], NUM_RADII * NUM_HARMONICS, *([] if summed else index.shape[2:]))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    points, index, ctx.radius, ctx.summed = inputs
    ctx.save_for_backward(points, index)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    points, index = ctx.saved_tensors

    def function(points: Tensor) -> Tensor:
        return _at_once(points, index, ctx.radius, ctx.summed)

    return (*differentiable_gradients(function, [points], [True], gradient), None, None, None)


_operator = register(
    "harmonic_kernel",
    "(Tensor points, Tensor index, float radius, bool summed) -> Tensor",
    _in_blocks,
    _shape,
    key="CompositeExplicitAutograd",
)
torch.library.register_autograd(f"{NAMESPACE}::harmonic_kernel", _gradients, setup_context=_setup, lib=LIBRARY)
