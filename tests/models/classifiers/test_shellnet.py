"""ShellNet: its parameters, its convolution over shells by brute force, its forms, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.models.classifiers.shellnet import ShellNet
from csgnn_dgl.nn import Norm, SharedDropout
from csgnn_dgl.nn.ops.points import farthest_points
from csgnn_dgl.testing import rotate_points
from tests.models.classifiers.shells import assert_forms_agree, assert_order_does_not_matter, small, spread
from tests.tolerances import TOLERANCE

REDUCED = {"neighbours": (32, 16, 8), "shells": (4, 2, 1), "representatives": (128, 64, 16), "widths": (64, 128, 256)}


@pytest.mark.parametrize(("arguments", "parameters"), [({}, 474_170), (REDUCED, 211_130)])
def test_parameter_counts_are_those_of_the_authors(arguments: Any, parameters: int) -> None:
    assert sum(p.numel() for p in ShellNet(**arguments).parameters()) == parameters


def normalised(values: Tensor, norm: Norm) -> Tensor:
    return (values - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def by_brute_force(layer: Any, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
    """One layer of a cloud (N, 3), neighbour by neighbour."""
    first, second, third, fourth = (layer.lift[place] for place in (0, 1, 3, 4))
    norm, linear = layer.mix[0], layer.mix[2]
    chosen = points[farthest_points(points[None], layer.num_representatives)[0]]
    rows = []
    for query in chosen:
        near = sorted(range(len(points)), key=lambda j: float((points[j] - query).norm()))[: layer.num_neighbours]
        shells = []
        size = layer.num_neighbours // layer.num_shells
        for start in range(0, layer.num_neighbours, size):  # runs of sorted neighbours
            members = []
            for j in near[start : start + size]:
                hidden = (normalised(points[j] - query, first) @ second.weight.T + second.bias).relu()
                hidden = (normalised(hidden, third) @ fourth.weight.T + fourth.bias).relu()
                members.append(hidden if features is None else torch.cat([hidden, features[j]]))
            shells.append(normalised(torch.stack(members).amax(dim=0), norm))
        rows.append((linear.weight @ torch.cat(shells)).relu())
    return chosen, torch.stack(rows)


def test_layers_are_those_of_the_paper_by_brute_force() -> None:
    model = small(ShellNet, torch.float64)
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


def test_shells_are_runs_of_the_sorted_neighbours() -> None:
    layer: Any = ShellNet().layers[0]
    points = torch.randn(1, 600, 3)
    index = torch.arange(64).expand(1, 2, 64)
    found, sizes, offsets = layer.describe(points, points[:, :2], index)
    assert torch.equal(found, index)
    assert sizes.tolist() == [[[16] * 4] * 2]
    assert torch.equal(offsets[0, 1, 5], points[0, 5] - points[0, 1])


def test_the_loss_is_that_of_every_representative_and_the_logits_are_their_mean() -> None:
    model, points, labels = small(ShellNet), torch.randn(3, 64, 3), torch.tensor([0, 4, 2])
    answers = model.answers(points)
    assert answers.shape == (3, 8, 5)
    loss, logits = model.loss(points, labels)
    by_hand = [-answers[b, p].log_softmax(dim=0)[labels[b]] for b in range(3) for p in range(8)]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean(), **TOLERANCE[torch.float32])
    assert torch.equal(logits, model(points))
    torch.testing.assert_close(logits, answers.mean(dim=1), **TOLERANCE[torch.float32])


def test_dropout_is_off_as_the_authors_run_it_and_an_option() -> None:
    assert not [layer for layer in ShellNet().modules() if isinstance(layer, SharedDropout)]
    shares = [layer.p for layer in ShellNet(dropout=(0.2, 0.5)).modules() if isinstance(layer, SharedDropout)]
    assert shares == [0.2, 0.5]
    points = torch.randn(2, 64, 3)
    model = small(ShellNet, dropout=(0.2, 0.5)).train()
    assert not torch.equal(model(points), model(points))


def test_all_forms_agree_in_outputs_and_gradients(dtype: torch.dtype) -> None:
    assert_forms_agree(ShellNet, dtype)


def test_the_order_of_the_points_does_not_matter(dtype: torch.dtype) -> None:
    assert_order_does_not_matter(ShellNet, dtype)


def test_the_answer_moves_with_rotations_as_offsets_do() -> None:
    """Nothing is claimed of rotations: logits move by as much as they differ between clouds."""
    model, points = small(ShellNet, torch.float64), torch.randn(8, 64, 3, dtype=torch.float64)
    with torch.no_grad():
        wanted = model(points)
        turned = model(rotate_points(points, random_rotations(1, np.random.default_rng(0))[0]))
    assert float((turned - wanted).abs().max()) > 0.1 * spread(wanted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"neighbours": (60, 32, 16), "shells": (7, 2, 1)}, "60 neighbours do not make 7 equal shells"),
        ({"widths": (64, 128)}, "make them equally long"),
        ({"representatives": (512, 15, 8)}, "layer 3 needs 16 points and the one before has 15 representatives"),
        ({"representatives": (512, 128, 256)}, "layer 3 needs 256 points"),
        ({"widths": (64, 0, 3)}, "widths must be an integer of at least 1, not 0"),
        ({"dropout": (0.2,)}, "dropout must be 2 numbers"),
        ({"dropout": (0.2, 1.0)}, "dropout must be 2 numbers of at least 0 and below 1"),
        ({"form": "slow"}, "form must be one of auto, compiled, fast, reference, not 'slow'"),
    ],
)
def test_arguments_that_make_no_model_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShellNet(**arguments)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(2, 600, 3), "cloud 0 of the batch has all points at the origin"),
        (torch.randn(2, 511, 3), "ShellNet needs clouds of at least 512 points .* got 511"),
        (torch.randn(2, 600, 2), "points of shape"),
        (torch.randn(600, 3), "points of shape"),
    ],
)
def test_clouds_that_cannot_be_classified_are_refused(points: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ShellNet()(points)
