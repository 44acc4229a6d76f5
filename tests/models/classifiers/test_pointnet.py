"""PointNet against NumPy, point by point; its T-Nets, its penalty, and what does not change its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.models import PointNet
from csgnn_dgl.nn import Norm
from tests.tolerances import EXACT, TOLERANCE, times


def settled(dtype: torch.dtype = torch.float64, **arguments: Any) -> PointNet:
    """A model in evaluation mode none of whose parameters and running averages are those of a fresh one."""
    torch.manual_seed(1)
    model = PointNet(num_classes=5, **arguments).to(dtype)
    for module in model.modules():
        if isinstance(module, Norm):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("matrix.weight", "bias")):
                parameter.normal_(0, 0.05)
    return model.eval()


def through(layers: nn.Module, vector: np.ndarray) -> np.ndarray:
    """One vector through linear layers and norms with ReLU, in NumPy."""
    for layer in layers.modules():  # a maximum over one point is the point
        if isinstance(layer, nn.Linear):
            vector = layer.weight.detach().numpy() @ vector + layer.bias.detach().numpy()
        elif isinstance(layer, Norm):
            mean, variance, scale, shift = (
                value.detach().numpy() for value in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
            )
            vector = np.maximum((vector - mean) / np.sqrt(variance + 1e-3) * scale + shift, 0)
    return vector


def turned_by(t_net: Any, vectors: list[np.ndarray]) -> list[np.ndarray]:
    """Vectors times the matrix of a T-Net, in NumPy."""
    largest = np.max([through(t_net.layers, vector) for vector in vectors], axis=0)
    size = len(vectors[0])
    matrix = through(t_net.matrix, through(t_net.head, largest)).reshape(size, size) + np.eye(size)
    return [vector @ matrix for vector in vectors]


@pytest.mark.parametrize("t_nets", [True, False])
def test_it_is_what_numpy_computes_point_by_point(t_nets: bool) -> None:
    model = settled(t_nets=t_nets)
    points = torch.randn(2, 7, 3, dtype=torch.float64)
    with torch.no_grad():
        found = model(points)
    for cloud, logits in zip(points.numpy(), found, strict=True):
        vectors = [*(cloud / np.linalg.norm(cloud, axis=1).max())]
        vectors = turned_by(model.point_transform, vectors) if t_nets else vectors
        vectors = [through(model.point_layers, vector) for vector in vectors]
        vectors = turned_by(model.feature_transform, vectors) if t_nets else vectors
        largest = np.max([through(model.feature_layers, vector) for vector in vectors], axis=0)
        wanted = torch.from_numpy(through(model.output, through(model.head, largest)))
        torch.testing.assert_close(logits, wanted, **TOLERANCE[torch.float64])


@pytest.mark.parametrize(("t_nets", "parameters"), [(True, 3_480_049), (False, 819_624)])
def test_parameter_counts_are_those_of_the_authors(t_nets: bool, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in PointNet(t_nets=t_nets).parameters()) == parameters


def test_both_t_nets_begin_with_the_identity() -> None:
    model = PointNet()
    for t_net, size in ((model.point_transform, 3), (model.feature_transform, 64)):
        assert t_net is not None
        assert torch.equal(t_net(torch.randn(4, 9, size)), torch.eye(size).expand(4, -1, -1))


def test_the_order_of_points_changes_nothing(dtype: torch.dtype) -> None:
    model, points = settled(dtype), torch.randn(3, 64, 3, dtype=dtype)
    torch.testing.assert_close(model(points[:, torch.randperm(64)]), model(points), **TOLERANCE[dtype])


def test_neither_duplicates_nor_the_scale_change_anything() -> None:
    model, points = settled(), torch.randn(3, 20, 3, dtype=torch.float64)
    torch.testing.assert_close(model(torch.cat([points, points[:, 3:9]], dim=1)), model(points), **EXACT)
    torch.testing.assert_close(model(37.0 * points), model(points), **times(EXACT, 10))


def test_the_loss_is_the_cross_entropy_with_half_the_sum_of_squares_of_each_cloud() -> None:
    model, labels = settled(penalty=0.25), torch.tensor([0, 3, 1])
    points = torch.randn(3, 16, 3, dtype=torch.float64)
    loss, logits = model.loss(points, labels)
    assert torch.equal(logits, model(points))
    transforms: list[Tensor] = []
    model.feature_transform.register_forward_hook(lambda *call: transforms.append(call[2]))  # type: ignore[union-attr]
    model(points)
    wanted = 0.0
    for label, answer in zip(labels, logits, strict=True):
        wanted = wanted + (answer.exp().sum().log() - answer[label]) / 3
    for matrix in transforms[0].detach().numpy():
        distance = np.linalg.norm(matrix @ matrix.T - np.eye(64))
        wanted = wanted + 0.25 * distance**2 / 2
    torch.testing.assert_close(loss, wanted, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("changes", [{"t_nets": False}, {"penalty": 0.0}])
def test_without_a_penalty_the_loss_is_the_cross_entropy(changes: dict) -> None:
    model, labels = settled(**changes), torch.tensor([0, 3, 1])
    loss, logits = model.loss(torch.randn(3, 16, 3), labels)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, labels), **EXACT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"penalty": -0.1}, "penalty must be at least 0, not -0.1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointNet(**changes)


def test_unusable_clouds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, N, 3\) with N > 0 expected, got \(64, 3\)"):
        settled()(torch.randn(64, 3))
    with pytest.raises(ValueError, match="cloud 1 of the batch has all points at the origin"):
        settled()(torch.cat([torch.ones(1, 4, 3), torch.zeros(1, 4, 3)]))
