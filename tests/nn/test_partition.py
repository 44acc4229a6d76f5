"""Trees of clouds, against that of scipy and against cuts in NumPy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.nn.ops.points import gather
from csgnn_dgl.nn.partition import Cut, parts, tree_order
from csgnn_dgl.testing import rotate_points


def clouds(count: int) -> Tensor:
    return torch.randn(3, count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def edges(count: int, number: int) -> list[int]:
    return [count * part // number for part in range(number + 1)]


def members(order: np.ndarray, number: int) -> list[set[int]]:
    """The places in the cloud of the points of each part."""
    return [set(order[first:last].tolist()) for first, last in pairwise(edges(len(order), number))]


def cut_in_numpy(points: np.ndarray, depth: int, cut: Cut) -> np.ndarray:
    """The order of a tree, one cut after the other."""
    order = np.arange(len(points))
    for level in range(depth):
        for first, last in pairwise(edges(len(points), 2**level)):
            own = points[order[first:last]] - points[order[first:last]].mean(axis=0)
            axis = np.eye(3)[np.ptp(own, axis=0).argmax()] if cut == "kd" else np.linalg.svd(own)[2][0]
            position = own @ axis
            sign = -1 if cut == "pca" and (position**3).sum() < 0 else 1
            order[first:last] = order[first:last][(sign * position).argsort()]
    return order


@pytest.mark.parametrize("cut", ["kd", "pca"])
@pytest.mark.parametrize(("count", "depth"), [(64, 4), (1024, 8), (61, 4), (100, 5), (17, 3), (16, 2)])
def test_each_part_is_cut_at_its_median(cut: Cut, count: int, depth: int) -> None:
    points = clouds(count)
    for cloud, order in zip(points.numpy(), tree_order(points, depth, cut).numpy(), strict=True):
        assert sorted(order.tolist()) == list(range(count))
        assert members(order, 2**depth) == members(cut_in_numpy(cloud, depth, cut), 2**depth)


@pytest.mark.parametrize("count", [64, 512, 1024])
def test_the_parts_are_those_of_a_tree_of_scipy_with_one_point_to_a_leaf(count: int) -> None:
    points, number = clouds(count), count // 4
    for cloud, order in zip(points.numpy(), tree_order(points, number.bit_length() - 1).numpy(), strict=True):
        assert members(order, number) == members(cKDTree(cloud, leafsize=1).indices, number)


@pytest.mark.parametrize("cut", ["kd", "pca"])
def test_the_order_of_the_points_does_not_matter_even_with_ties(cut: Cut) -> None:
    points = (clouds(100) * 2).round()  # many equal coordinates, and equal points
    shuffled = points[:, torch.randperm(100)]
    assert torch.equal(gather(points, tree_order(points, 5, cut)), gather(shuffled, tree_order(shuffled, 5, cut)))


def test_parts_across_principal_axes_turn_with_the_cloud() -> None:
    points = clouds(100)
    wanted = tree_order(points, 5, "pca")
    for rotation in random_rotations(10, np.random.default_rng(0)):
        assert torch.equal(tree_order(rotate_points(points, rotation), 5, "pca"), wanted)
        assert torch.equal(tree_order(-rotate_points(points, rotation), 5, "pca"), wanted)


def test_parts_have_places_of_their_own_and_repeat_the_last() -> None:
    places, repeated = parts(10, 4, torch.device("cpu"))
    assert places.tolist() == [[0, 1, 1], [2, 3, 4], [5, 6, 6], [7, 8, 9]]
    assert repeated.tolist() == [[False, False, True], [False] * 3, [False, False, True], [False] * 3]
