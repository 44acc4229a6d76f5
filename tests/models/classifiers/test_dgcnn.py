"""DGCNN against loops over the edges; its forms, its loss, and what does not change its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from csgnn_dgl.models import DGCNN
from csgnn_dgl.nn import Norm
from csgnn_dgl.nn.forms import Form
from tests.forms import FORMS
from tests.tolerances import EXACT, TOLERANCE, assert_same_up_to_scale

REDUCED: dict[str, Any] = {"k": 10, "widths": (32, 32, 64, 128), "embedding": 512, "max_points": 512}


def small(dtype: torch.dtype = torch.float64, **changes: Any) -> DGCNN:
    """A small model in evaluation mode with parameters and running averages that are not those of a fresh one."""
    torch.manual_seed(1)
    arguments: dict[str, Any] = {"k": 6, "widths": (5, 8, 7), "embedding": 12, "num_classes": 5, **changes}
    model = DGCNN(**arguments).to(dtype)
    for module in model.modules():
        if isinstance(module, Norm):
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def normal(norm: Norm, values: np.ndarray) -> np.ndarray:
    """A norm and leaky ReLU in NumPy."""
    mean, variance, scale, shift = (
        value.detach().numpy() for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    line = (values - mean) / np.sqrt(variance + 1e-5) * scale + shift
    return np.maximum(line, 0.2 * line)


def through(layers: nn.Module, vector: np.ndarray) -> np.ndarray:
    """One vector through linear layers and norms."""
    for layer in layers.modules():
        if isinstance(layer, nn.Linear):
            bias = 0.0 if layer.bias is None else layer.bias.detach().numpy()
            vector = layer.weight.detach().numpy() @ vector + bias
        elif isinstance(layer, Norm):
            vector = normal(layer, vector)
    return vector


def test_it_is_what_loops_over_the_edges_compute() -> None:
    model, points = small(), torch.randn(2, 14, 3, dtype=torch.float64)
    with torch.no_grad():
        found = model(points)
    for cloud, logits in zip(points.numpy(), found, strict=True):
        features, outputs = cloud / np.linalg.norm(cloud, axis=1).max(), []
        for convolution in list[Any](model.convolutions):
            weight = convolution.linear.weight.detach().numpy()
            new = []
            for own in features:
                near = np.argsort([np.sum((other - own) ** 2) for other in features])[:6]
                edges = [weight @ np.concatenate([features[j] - own, own]) for j in near]
                new.append(np.max([normal(convolution.norm, edge) for edge in edges], axis=0))
            features = np.array(new)
            outputs.append(features)
        embedded = np.array([through(model.embedding, vector) for vector in np.concatenate(outputs, axis=1)])
        pooled = np.concatenate([embedded.max(axis=0), embedded.mean(axis=0)])
        wanted = torch.from_numpy(through(model.output, through(model.head, pooled)))
        torch.testing.assert_close(logits, wanted, **TOLERANCE[torch.float64])


@pytest.mark.parametrize(("arguments", "parameters"), [({}, 1_809_576), (REDUCED, 822_760)])
def test_parameter_counts_are_those_of_the_authors(arguments: dict, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in DGCNN(**arguments).parameters()) == parameters


@pytest.mark.parametrize("training", [True, False])
def test_all_forms_of_the_model_agree_in_outputs_and_gradients(training: bool) -> None:
    # In float64: in float32 roundings decide which of two features that are almost equally near is a neighbour. The
    # forms of the layer, whose neighbours are given, are compared in both.
    points = torch.randn(4, 40, 3, dtype=torch.float64)
    outcomes = []
    for form in FORMS:
        model = small(form=form, dropout=0.0).train(training)
        x = points.clone().requires_grad_()
        logits = model(x)
        logits.square().sum().backward()
        named = [(name, parameter.grad) for name, parameter in model.named_parameters()]
        # a bias before a norm has no gradient but rounding
        kept = [grad for name, grad in named if name != "head.1.0.bias"]
        outcomes.append([logits.detach(), x.grad, *kept])
    for outcome in outcomes[1:]:
        for found, wanted in zip(outcome, outcomes[0], strict=True):
            assert_same_up_to_scale(found, wanted)


def test_a_point_is_its_own_neighbour() -> None:
    model, points = small(k=1), torch.randn(2, 9, 3, dtype=torch.float64)
    first: Any = model.convolutions[0]
    seen: list[torch.Tensor] = []
    first.register_forward_hook(lambda *call: seen.append(call[2]))
    model(points)
    features = points / points.norm(dim=2).amax(dim=1)[:, None, None]
    wanted = first.norm(features @ first.linear.weight[:, 3:].T)
    torch.testing.assert_close(seen[0], wanted, **TOLERANCE[torch.float64])


def test_neither_order_nor_scale_of_points_changes_anything(dtype: torch.dtype) -> None:
    model, points = small(dtype), torch.randn(3, 64, 3, dtype=dtype)
    torch.testing.assert_close(model(points[:, torch.randperm(64)]), model(points), **TOLERANCE[dtype])
    torch.testing.assert_close(model(32.0 * points), model(points), **TOLERANCE[dtype])


def test_larger_clouds_are_cut_to_their_first_points() -> None:
    model, points = small(max_points=20), torch.randn(2, 30, 3, dtype=torch.float64)
    whole = small()
    assert torch.equal(model(points), whole(points[:, :20]))
    assert torch.equal(model(points[:, :15]), whole(points[:, :15]))
    assert not torch.equal(whole(points), model(points))


@pytest.mark.parametrize("smoothing", [0.2, 0.0])
def test_the_loss_spreads_a_share_of_the_target_over_the_other_classes(smoothing: float) -> None:
    model, labels = small(smoothing=smoothing), torch.tensor([0, 3, 1])
    loss, logits = model.loss(torch.randn(3, 16, 3, dtype=torch.float64), labels)
    targets = torch.full((3, 5), smoothing / 4, dtype=torch.float64)
    targets[torch.arange(3), labels] = 1 - smoothing
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, targets), **EXACT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1"),
        ({"widths": ()}, r"widths must name one edge convolution at least, not \(\)"),
        ({"widths": (4, 0)}, r"widths\[1\] must be an integer of at least 1"),
        ({"embedding": 0}, "embedding must be an integer of at least 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        ({"smoothing": -0.1}, "smoothing must be at least 0 and below 1, not -0.1"),
        ({"max_points": 5}, "max_points must be an integer of at least 6, not 5"),
        ({"form": "slow"}, "form must be one of auto"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize("form", FORMS)
def test_unusable_clouds_are_refused(form: Form) -> None:
    model = small(form=form)
    with pytest.raises(ValueError, match=r"\(B, N, 3\) with N > 0 expected, got \(64, 3\)"):
        model(torch.randn(64, 3))
    with pytest.raises(ValueError, match="6 neighbours asked for in clouds of 4 points; give more points"):
        model(torch.randn(2, 4, 3))
