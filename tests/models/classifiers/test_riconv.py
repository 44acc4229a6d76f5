"""RIConv: its parameters, features and slabs by brute force, its invariance, its forms, and what it refuses."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.models.classifiers.riconv import RIConv, invariants
from csgnn_dgl.nn import Norm
from csgnn_dgl.nn.ops.points import farthest_points
from csgnn_dgl.testing import rotate_points
from tests.models.classifiers.shells import assert_forms_agree, assert_order_does_not_matter, small, spread
from tests.tolerances import EXACT, TOLERANCE

REDUCED = {
    "neighbours": (32, 16, 8),
    "shells": (4, 2, 1),
    "representatives": (128, 64, 32),
    "widths": (64, 128, 256),
    "head": (256, 128),
}


@pytest.mark.parametrize(("arguments", "parameters"), [({}, 710_024), (REDUCED, 211_272)])
def test_parameter_counts_are_those_of_the_authors(arguments: Any, parameters: int) -> None:
    assert sum(p.numel() for p in RIConv(**arguments).parameters()) == parameters


def test_the_four_numbers_of_a_neighbourhood_by_hand() -> None:
    offsets = torch.tensor([[2.0, 0, 0], [0, 2, 0], [4, 4, 0], [2, 2, 0]], dtype=torch.float64)  # mean: (2, 2, 0)
    half = math.sqrt(0.5)
    wanted = [
        [2, 2, half, -half],
        [2, 2, half, -half],
        [4 * math.sqrt(2), 2 * math.sqrt(2), 1, 1],
        [2 * math.sqrt(2), 0, 1, 0],  # at the mean there is no direction
    ]
    torch.testing.assert_close(invariants(offsets), torch.tensor(wanted, dtype=torch.float64), **EXACT)


def test_vectors_of_no_length_have_the_cosine_and_the_gradient_zero() -> None:
    for offsets in ([[0.0, 0, 0]] * 3, [[1.0, 0, 0], [-1, 0, 0], [0, 0, 0]], [[1.0, 2, 3]] * 3):
        x = torch.tensor(offsets, requires_grad=True)
        found = invariants(x)
        found.sum().backward()
        assert x.grad is not None and x.grad.isfinite().all() and found.isfinite().all()
    assert invariants(torch.zeros(3, 3)).tolist() == [[0, 0, 0, 0]] * 3


def normalised(values: Tensor, norm: Norm) -> Tensor:
    return (values - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def by_brute_force(layer: Any, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
    """One layer of a cloud (N, 3), neighbour by neighbour."""
    first, norm, second, last = layer.lift
    linear, final = layer.mix[1], layer.mix[2]
    chosen = points[farthest_points(points[None], layer.num_representatives)[0]]
    rows = []
    for p in chosen:
        near = sorted(range(len(points)), key=lambda j: float((points[j] - p).norm()))[5:][: layer.num_neighbours]
        m = points[near].mean(dim=0)
        axis = points.mean(dim=0) - p
        axis = axis / axis.norm()
        heights = [float((points[j] - p) @ axis) for j in near]
        width = (max(heights) - min(heights)) / layer.num_shells
        shells = torch.zeros(layer.num_shells, 64 + (0 if features is None else features.shape[1])).double()
        for j, height in zip(near, heights, strict=True):
            x = points[j]
            four = [(x - p).norm(), (x - m).norm(), cosine(x - p, m - p), cosine(x - m, m - p)]
            hidden = normalised(torch.tensor(four).double() @ first.weight.T + first.bias, norm).relu()
            hidden = normalised(hidden @ second.weight.T + second.bias, last).relu()
            row = hidden if features is None else torch.cat([hidden, features[j]])
            slab = min(int((height - min(heights)) / width), layer.num_shells - 1)
            shells[slab] = torch.maximum(shells[slab], row)
        rows.append(normalised(linear.weight @ shells.flatten() + linear.bias, final).relu())
    return chosen, torch.stack(rows)


def test_layers_are_those_of_the_paper_by_brute_force() -> None:
    model = small(RIConv, torch.float64, shells=(4, 2))
    points = torch.randn(2, 40, 3, dtype=torch.float64)
    first, second = model.layers
    chosen, features = first(points, None)
    _, features_again = second(chosen, features)
    for cloud in range(2):
        wanted_points, wanted = by_brute_force(first, points[cloud], None)
        torch.testing.assert_close(features[cloud], wanted, **TOLERANCE[torch.float64])
        assert torch.equal(chosen[cloud], wanted_points)
        _, wanted = by_brute_force(second, wanted_points, wanted)
        torch.testing.assert_close(features_again[cloud], wanted, **TOLERANCE[torch.float64])


def slabs(heights: list[float], centre: float = 10.0) -> tuple[list[int], list[int]]:
    """The order and the sizes of four slabs of neighbours at these heights over a representative at the origin."""
    layer: Any = small(RIConv, neighbours=(len(heights), 4), shells=(4, 1)).layers[0]
    points = torch.tensor([[0.0, 0, height] for height in [*heights, 0.0]])
    points[-1, 2] = len(points) * centre - sum(heights)  # the mean of all points lies `centre` above
    index, sizes, _ = layer.describe(points[None], torch.zeros(1, 1, 3), torch.arange(len(heights))[None, None])
    return index[0, 0].tolist(), sizes[0, 0].tolist()


def test_slabs_are_half_open_and_the_last_one_is_closed() -> None:
    assert slabs([0, 4, 1, 2, 0.5, 3]) == ([0, 4, 2, 3, 5, 1], [2, 1, 1, 2])
    assert slabs([0, 4, 3.5]) == ([0, 2, 1], [1, 0, 0, 2])  # two are empty
    assert slabs([1, 1, 1])[1] == [3, 0, 0, 0]


def test_without_a_direction_all_neighbours_are_in_the_first_slab() -> None:
    assert slabs([-1, 2, 5, 1], centre=0.0)[1] == [4, 0, 0, 0]


def test_the_nearest_five_are_no_neighbours() -> None:
    assert RIConv().layers[0].skipped == 5
    assert RIConv().num_needed == 256
    assert RIConv(neighbours=(300, 32, 16)).num_needed == 305


def test_rotations_and_reflections_change_nothing(dtype: torch.dtype) -> None:
    """Exact in float64 to rounding; in float32 within its tolerance."""
    model, points = small(RIConv, dtype, shells=(4, 2)), torch.randn(4, 64, 3, dtype=dtype)
    with torch.no_grad():
        wanted = model(points)
        assert spread(wanted) > 1e-2
        for rotation in random_rotations(5, np.random.default_rng(0)):
            for sign in (1, -1):
                found = model(rotate_points(points, sign * rotation))
                torch.testing.assert_close(found, wanted, **TOLERANCE[dtype])


def test_the_loss_is_that_of_every_representative_and_the_logits_are_their_mean() -> None:
    model, points, labels = small(RIConv), torch.randn(3, 64, 3), torch.tensor([0, 4, 2])
    answers = model.answers(points)
    assert answers.shape == (3, 8, 5)
    loss, logits = model.loss(points, labels)
    by_hand = [-answers[b, p].log_softmax(dim=0)[labels[b]] for b in range(3) for p in range(8)]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean(), **TOLERANCE[torch.float32])
    assert torch.equal(logits, answers.mean(dim=1))


def test_all_forms_agree_in_outputs_and_gradients(dtype: torch.dtype) -> None:
    assert_forms_agree(RIConv, dtype)


def test_the_order_of_the_points_does_not_matter(dtype: torch.dtype) -> None:
    assert_order_does_not_matter(RIConv, dtype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shells": (4, 2)}, "make them equally long"),
        ({"neighbours": (64, 32, 128)}, "layer 3 needs 133 points and the one before has 128 representatives"),
        ({"shells": (0, 2, 1)}, "shells must be an integer of at least 1, not 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_arguments_that_make_no_model_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RIConv(**arguments)


def test_clouds_with_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="RIConv needs clouds of at least 256 points .* got 200; give more points"):
        RIConv()(torch.randn(2, 200, 3))
