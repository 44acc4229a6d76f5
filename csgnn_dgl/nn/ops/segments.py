"""Maxima over the segments of a list of rows, which may be empty."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from csgnn_dgl.nn.ops.registry import LIBRARY, NAMESPACE, register

MAX = 2
"""What torch's embedding_bag calls the maximum."""


def segment_max(rows: Tensor, sources: Tensor, offsets: Tensor) -> Tensor:
    """Take the maximum of 0 and the rows of each segment, per channel, without a copy of those rows.

    The gradient goes to the first of equal rows, and to none where the maximum is 0.

    Parameters
    ----------
    rows
        (S, C) values.
    sources
        (E,) int64: rows of all segments, one segment after the other.
    offsets
        (T + 1,) int64: segment t has the rows ``sources[offsets[t]:offsets[t + 1]]``.

    Returns
    -------
    torch.Tensor
        (T, C); an empty segment has 0.
    """
    return _segment_max(rows, sources, offsets)[0]


def _forward(rows: Tensor, sources: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.embedding_bag(rows.contiguous(), sources, offsets, mode=MAX, include_last_offset=True)
    return found[0].relu_(), found[3]


def _fake(rows: Tensor, sources: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    # len() of a tensor is a number of Python's, which an export would keep as it is
    maximum = rows.new_empty(offsets.shape[0] - 1, rows.shape[1])
    return maximum, maximum.new_empty(maximum.shape, dtype=torch.int64)


def _setup(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output)
    ctx.count = inputs[0].shape[0]


def _gradients(ctx: Any, gradient: Tensor, nothing: Tensor) -> tuple[Tensor, None, None]:
    maximum, winners = ctx.saved_tensors
    passed = gradient.masked_fill(maximum == 0, 0)
    return passed.new_zeros(ctx.count, passed.shape[1]).scatter_add(0, winners, passed), None, None


_segment_max = register(
    "segment_max",
    "(Tensor rows, Tensor sources, Tensor offsets) -> (Tensor, Tensor)",
    _forward,
    _fake,
    key="CompositeExplicitAutograd",
)
torch.library.register_autograd(f"{NAMESPACE}::segment_max", _gradients, setup_context=_setup, lib=LIBRARY)
