"""Grids, radius searches and reductions of ragged clouds, against loops in Python."""

import itertools
import math
from collections import defaultdict

import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn.ops.ragged import coarser, grid_subsampling, within_radius
from tests.tolerances import TOLERANCE

CELL = 0.3


def clouds(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(3, 40, 3, generator=generator, dtype=torch.float64) - 0.5
    return (points * torch.tensor([2.0, 1.0, 0.7])[:, None, None]).to(dtype)


def by_cell(points: Tensor, size: float) -> dict[tuple[int, ...], list[Tensor]]:
    found = defaultdict(list)
    for point in points:
        found[tuple(math.floor(float(value) / size) for value in point)].append(point)
    return dict(sorted(found.items()))


def split(values: Tensor, offsets: Tensor) -> list[Tensor]:
    return [values[first:last] for first, last in itertools.pairwise(offsets.tolist())]


def test_barycentres_of_the_cells(dtype: torch.dtype) -> None:
    points = clouds(dtype)
    fine = grid_subsampling(points, CELL)
    assert fine.points.dtype == dtype
    wide = coarser(fine)
    for cloud, found in enumerate(zip(split(fine.points, fine.offsets), split(wide.points, wide.offsets), strict=True)):
        first = by_cell(points[cloud], CELL)
        wanted = torch.stack([torch.stack(own).mean(dim=0) for own in first.values()])
        torch.testing.assert_close(found[0], wanted, **TOLERANCE[dtype])
        second = by_cell(wanted, 2 * CELL)
        assert len(second) < len(first) < 40
        again = torch.stack([torch.stack(own).mean(dim=0) for own in second.values()])
        torch.testing.assert_close(found[1], again, **TOLERANCE[dtype])
    assert [tuple(cell) for cell in split(fine.cells, fine.offsets)[-1].tolist()] == list(by_cell(points[-1], CELL))


def test_barycentres_are_the_same_bits_in_any_order_and_company() -> None:
    points = clouds(torch.float32)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    wanted = coarser(grid_subsampling(points, CELL))
    found = coarser(grid_subsampling(points[:, order], CELL))
    assert torch.equal(found.points, wanted.points) and torch.equal(found.cells, wanted.cells)
    assert torch.equal(found.owner, wanted.owner) and torch.equal(found.offsets, wanted.offsets)
    alone = [coarser(grid_subsampling(cloud[None], CELL)).points for cloud in points]
    assert torch.equal(torch.cat(alone), wanted.points)


def test_gradients_of_barycentres() -> None:
    points = clouds().requires_grad_()
    fine = grid_subsampling(points, CELL)
    (gradient,) = torch.autograd.grad(fine.points.sum(), points)
    for cloud, own in enumerate(points.detach()):
        members = {cell: len(group) for cell, group in by_cell(own, CELL).items()}
        wanted = [1 / members[tuple(math.floor(float(value) / CELL) for value in point)] for point in own]
        expected = torch.tensor(wanted, dtype=torch.float64)[:, None].expand(-1, 3)
        torch.testing.assert_close(gradient[cloud], expected, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("radius", [0.01, 0.35, 5.0])
def test_neighbours_within_a_radius(radius: float, dtype: torch.dtype) -> None:
    fine = grid_subsampling(clouds(dtype), CELL)
    wide = coarser(fine)
    found = within_radius(fine, wide, radius)
    wanted, firsts = [], (fine.offsets.tolist(), wide.offsets.tolist())
    for cloud in range(3):
        for query in range(firsts[1][cloud], firsts[1][cloud + 1]):
            for support in range(firsts[0][cloud], firsts[0][cloud + 1]):
                if float((fine.points[support] - wide.points[query]).norm()) < radius:
                    wanted.append((query, support))
    assert list(zip(found.query.tolist(), found.support.tolist(), strict=True)) == wanted
    torch.testing.assert_close(
        found.vectors.t(), fine.points[found.support] - wide.points[found.query], **TOLERANCE[dtype]
    )
    assert found.num_queries == len(wide.points)
    for query, own in enumerate(split(found.query, found.offsets)):
        assert (own == query).all()


def test_maxima_are_those_of_neighbours_alone() -> None:
    fine = grid_subsampling(clouds(), CELL)
    found = within_radius(fine, coarser(fine), 2 * CELL)
    features = -1 - torch.rand(len(fine.points), 4, dtype=torch.float64)  # nowhere the 0 of a padding
    maxima = found.maximum(features)
    for query, own in enumerate(split(found.support, found.offsets)):
        assert torch.equal(maxima[query], features[own].amax(dim=0))


def test_means_of_clouds() -> None:
    fine = grid_subsampling(clouds(), CELL)
    features = torch.rand(len(fine.points), 4, dtype=torch.float64)
    wanted = torch.stack([own.mean(dim=0) for own in split(features, fine.offsets)])
    torch.testing.assert_close(fine.mean(features), wanted, **TOLERANCE[torch.float64])
