"""Maxima over the segments of a list of rows, which may be empty."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.registry import LIBRARY, NAMESPACE, register

_MAX = 2  # what torch's embedding_bag calls the maximum


def segment_max(rows: Tensor, sources: Tensor | None, offsets: Tensor, kernel: bool) -> Tensor:
    """Take the maximum of 0 and the rows of each segment, per channel, without a copy of those rows.

    The gradient goes to the first of equal rows, and to none where the maximum is 0.

    Parameters
    ----------
    rows
        (S, C) values.
    sources
        (E,) int64: rows of all segments, one segment after the other; None for all rows in their order.
    offsets
        (T + 1,) int64: segment t has the rows ``sources[offsets[t]:offsets[t + 1]]``.
    kernel
        Whether the kernels compute it; a segment has at most 256 rows then.

    Returns
    -------
    torch.Tensor
        (T, C); an empty segment has 0.
    """
    return _segment_max(rows, sources, offsets, kernel)[0]


def _forward(rows: Tensor, sources: Tensor | None, offsets: Tensor, kernel: bool) -> tuple[Tensor, Tensor]:
    if sources is None:
        sources = torch.arange(len(rows), device=rows.device)
    if not kernel:
        found = torch.embedding_bag(rows.contiguous(), sources, offsets, mode=_MAX, include_last_offset=True)
        return found[0].relu_(), found[3]
    filled = offsets.diff() > 0  # the kernels know no empty ones
    starts = torch.cat([offsets[:-1][filled], offsets[-1:]])
    maximum, places = library.max_forward(rows.contiguous(), sources.int(), starts.int())
    assert places is not None
    if len(starts) < len(offsets):
        at, shape = filled.nonzero()[:, 0], (len(filled), rows.shape[1])
        maximum, places = (part.new_zeros(shape).index_copy_(0, at, part) for part in (maximum, places))
    return maximum.relu_(), places


def _fake(rows: Tensor, sources: Tensor | None, offsets: Tensor, kernel: bool) -> tuple[Tensor, Tensor]:
    # len() of a tensor is a number of Python's, which an export would keep as it is
    maximum = rows.new_empty(offsets.shape[0] - 1, rows.shape[1])
    return maximum, maximum.new_empty(maximum.shape, dtype=torch.uint8 if kernel else torch.int64)


def _backward(gradient: Tensor, places: Tensor, sources: Tensor | None, offsets: Tensor, count: int) -> Tensor:
    """Return the gradient of the rows by the kernels: each row looks up the segments that read it."""
    sizes = offsets.diff()
    segment = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    place = torch.arange(len(segment), device=sizes.device) - offsets[segment]
    if sources is None:
        readers = torch.arange(count + 1, device=sizes.device)
    else:
        by_source = sources.argsort(stable=True)
        segment, place = segment[by_source], place[by_source]
        readers = torch.nn.functional.pad(sources.bincount(minlength=count).cumsum(0), (1, 0))
    return library.max_backward(gradient.contiguous(), places, segment.int(), place.byte(), readers.int())


def _backward_fake(gradient: Tensor, places: Tensor, sources: Tensor | None, offsets: Tensor, count: int) -> Tensor:
    return gradient.new_empty(count, gradient.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    rows, sources, offsets, ctx.kernel = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output, sources, offsets)
    ctx.count = rows.shape[0]


def _gradients(ctx: Any, gradient: Tensor, nothing: Tensor) -> tuple[Tensor, None, None, None]:
    maximum, winners, sources, offsets = ctx.saved_tensors
    passed = gradient.masked_fill(maximum == 0, 0)
    if ctx.kernel and not torch.is_grad_enabled():
        return _segment_max_backward(passed, winners, sources, offsets, ctx.count), None, None, None
    if ctx.kernel:  # an empty last segment has nothing to pass on, wherever it points
        winners = (offsets[:-1, None] + winners).clamp(max=max(ctx.count if sources is None else len(sources), 1) - 1)
        winners = winners if sources is None else sources[winners]
    return passed.new_zeros(ctx.count, passed.shape[1]).scatter_add(0, winners, passed), None, None, None


_segment_max = register(
    "segment_max",
    "(Tensor rows, Tensor? sources, Tensor offsets, bool kernel) -> (Tensor, Tensor)",
    _forward,
    _fake,
    key="CompositeExplicitAutograd",
)
_segment_max_backward = register(
    "segment_max_backward",
    "(Tensor gradient, Tensor places, Tensor? sources, Tensor offsets, SymInt count) -> Tensor",
    _backward,
    _backward_fake,
    key="CompositeExplicitAutograd",
)
torch.library.register_autograd(f"{NAMESPACE}::segment_max", _gradients, setup_context=_setup, lib=LIBRARY)
