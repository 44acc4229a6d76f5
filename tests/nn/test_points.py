"""Searches in point clouds, against brute force in Python."""

import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.points import farthest_points, gather, nearest


def clouds(dimension: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(3, 40, dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dimension", [2, 3, 7])
def test_the_nearest_points_come_from_near_to_far(dimension: int, dtype: torch.dtype) -> None:
    points = clouds(dimension, dtype)
    queries = points[:, ::4] + 0.01
    found = nearest(points, queries, 6)
    assert found.shape == (3, 10, 6) and found.dtype == torch.int64
    for cloud in range(3):
        for query in range(10):
            distance = [float((point - queries[cloud, query]).square().sum()) for point in points[cloud]]
            assert found[cloud, query].tolist() == sorted(range(40), key=distance.__getitem__)[:6]


def test_a_point_finds_itself_first() -> None:
    points = clouds(3, torch.float32)
    assert torch.equal(nearest(points, points, 2)[..., 0], torch.arange(40).expand(3, 40))


def test_near_neighbours_far_from_the_origin_are_not_confused() -> None:
    # A matrix product of float32 would see distances of 0.01 beside numbers of 1000² only as roundings.
    points = clouds(3, torch.float64)
    far = (0.01 * points + torch.tensor([1000.0, 0.0, 0.0])).float()
    wanted = nearest(far.double(), far.double(), 5)
    assert torch.equal(nearest(far, far, 5), wanted)


def test_representatives_are_spread_out(dtype: torch.dtype) -> None:
    points = clouds(3, dtype)
    found = farthest_points(points, 7)
    for cloud in range(3):
        own = points[cloud].double()
        chosen = [int((own - own.mean(dim=0)).norm(dim=1).argmax())]
        while len(chosen) < 7:
            gaps = [min(float((point - own[other]).norm()) for other in chosen) for point in own]
            chosen.append(max(range(40), key=gaps.__getitem__))
        assert found[cloud].tolist() == chosen


def test_representatives_do_not_depend_on_the_order_of_the_points() -> None:
    points = clouds(3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    one, other = farthest_points(points, 9), farthest_points(points[:, order], 9)
    assert torch.equal(gather(points, one), gather(points[:, order], other))


def test_all_points_can_be_representatives() -> None:
    assert torch.equal(farthest_points(clouds(3), 40).sort(dim=1).values, torch.arange(40).expand(3, 40))


def test_gather_takes_values_of_the_own_cloud() -> None:
    values = clouds(5)
    index = torch.randint(40, (3, 4, 6), generator=torch.Generator().manual_seed(1))
    found = gather(values, index)
    assert all(torch.equal(found[b], values[b][index[b]]) for b in range(3))


@pytest.mark.parametrize("count", [0, 41])
def test_too_many_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"^{count} neighbours asked for in clouds of 40 points"):
        nearest(clouds(3), clouds(3), count)
    with pytest.raises(ValueError, match=f"^{count} representatives asked for in clouds of 40 points"):
        farthest_points(clouds(3), count)


def test_the_operators_keep_torchs_rules() -> None:
    points = clouds(3)
    torch.library.opcheck(torch.ops.csgnn_dgl.nearest.default, (points, points[:, :4], 3))
    torch.library.opcheck(torch.ops.csgnn_dgl.farthest_points.default, (points, 3))


def test_they_can_be_compiled_with_a_batch_of_any_size() -> None:
    compiled = torch.compile(
        lambda points: nearest(points, gather(points, farthest_points(points, 4)), 5),
        fullgraph=True,
        backend="eager",
        dynamic=True,
    )
    points = clouds(3)
    for size in (3, 2):
        own = points[:size]
        assert torch.equal(compiled(own), nearest(own, gather(own, farthest_points(own, 4)), 5))


@pytest.mark.skipif(not library.available(), reason="there is no compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 5), (200, 190), (300, 3), (1000, 64)])
def test_the_kernel_sorts_as_torch_does(dtype: torch.dtype, length: int, count: int) -> None:
    rows = torch.randn(40, length, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows[1] = rows[1].abs().round()  # equal numbers: the first comes first
    rows[2] = 0.25
    rows[3, ::2], rows[3, 1::2] = 0.0, -0.0
    rows[4, ::3] = float("nan")
    rows[5, ::3], rows[5, 1::3] = float("inf"), float("-inf")
    rows[6] = rows[6].sort().values
    rows[7] = rows[7].sort(descending=True).values
    wanted = rows.sort(dim=1, stable=True).indices[:, :count]
    assert torch.equal(library.smallest(rows, count), wanted)


@pytest.mark.skipif(not library.available(), reason="there is no compiler")
def test_the_kernel_refuses_what_it_cannot_take() -> None:
    rows = torch.randn(4, 6)
    for count in (0, 7):
        with pytest.raises(ValueError, match=f"^smallest takes 1 to 6 numbers of each row, got {count}$"):
            library.smallest(rows, count)
    with pytest.raises(ValueError, match="must be a contiguous"):
        library.smallest(rows.t(), 2)
    assert library.smallest(rows[:0], 2).shape == (0, 2)


def test_without_the_kernel_the_neighbours_are_the_same(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    points = clouds(3, dtype)
    found = nearest(points, points, 7)
    monkeypatch.setattr(library, "available", lambda: False)
    assert torch.equal(nearest(points, points, 7), found)
