"""Moments over processes, with the processes played by a stand-in for torch.distributed."""

from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from csgnn_dgl.nn import NormReLU, moments
from csgnn_dgl.nn.moments import Moments, sum_across_processes
from tests.tolerances import EXACT, ROUNDED, TOLERANCE


def combined(parts: list[Moments]) -> Moments:
    """Let the first of several processes gather the moments of all."""

    def all_gather(everyone: list[Tensor], own: Tensor) -> None:
        for place, part in zip(everyone, parts, strict=True):
            place.copy_(torch.cat([part.mean, part.scatter, torch.tensor([part.total], dtype=torch.float64)]))
        assert torch.equal(own, everyone[0])

    with (
        patch.object(moments, "num_processes", lambda: len(parts)),
        patch("torch.distributed.all_gather", all_gather),
    ):
        return parts[0].across_processes()


@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    offset=st.floats(-1e6, 1e6),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_combined_moments_are_those_of_all_rows(counts: list[int], offset: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [offset + scale * rng.normal(rng.normal(), 1, size=(count, 3)) for count in counts]
    found = combined([Moments.of(torch.from_numpy(block)) for block in blocks])
    rows = np.concatenate(blocks).astype(np.longdouble)
    assert found.total == len(rows)
    size = abs(offset) + scale  # of the numbers that are rounded
    np.testing.assert_allclose(
        found.mean, rows.mean(axis=0).astype(float), rtol=EXACT["rtol"], atol=EXACT["atol"] * size
    )
    spread = np.sqrt(found.variance.numpy())
    np.testing.assert_allclose(
        spread, rows.std(axis=0).astype(float), rtol=TOLERANCE[torch.float64]["rtol"], atol=ROUNDED["atol"] * scale
    )


def test_the_variance_keeps_its_digits_far_from_zero() -> None:
    small = np.array([[0.0], [1.0], [2.0], [5.0]])
    found = combined([Moments.of(torch.from_numpy(1e8 + small[:1])), Moments.of(torch.from_numpy(1e8 + small[1:]))])
    np.testing.assert_allclose(found.variance, small.var(axis=0), rtol=np.spacing(1e8))
    naive = np.mean((1e8 + small) ** 2) - np.mean(1e8 + small) ** 2
    assert abs(naive - small.var()) > 0.1 * small.var()


def test_narrow_rows_are_measured_in_float64() -> None:
    rows = torch.randn(1000, 2).to(torch.bfloat16) + 7
    found = Moments.of(rows)
    assert found.mean.dtype == found.scatter.dtype == torch.float64
    torch.testing.assert_close(found.mean, rows.double().mean(dim=0), **EXACT)
    torch.testing.assert_close(found.variance, rows.double().var(dim=0, correction=0), **EXACT)


def test_one_process_has_nothing_to_combine() -> None:
    own: Any = Moments.of(torch.randn(5, 2))
    assert own.across_processes() is own
    values = torch.randn(3)
    assert sum_across_processes(values) is values


def test_running_averages_begin_as_the_mean_of_the_batches_and_forget_slowly_after() -> None:
    norm, batches = NormReLU(3, momentum=0.25), torch.randn(9, 50, 3)
    for index, rows in enumerate(batches[:4], start=1):
        norm(rows)
        torch.testing.assert_close(norm.running_mean, batches[:index].mean(dim=(0, 1)), **ROUNDED)
        torch.testing.assert_close(norm.running_var, batches[:index].var(dim=1).mean(dim=0), **ROUNDED)
    copy = NormReLU(3, momentum=0.25)
    copy.load_state_dict(norm.state_dict())
    before = norm.running_mean.clone()
    copy(batches[4])
    torch.testing.assert_close(copy.running_mean, 0.75 * before + 0.25 * batches[4].mean(dim=0), **ROUNDED)
