"""The whole model on the device that is tested, against float64 on the CPU. On the CPU itself it is a small test."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from csgnn_dgl.geometry import icosahedral_rotations
from csgnn_dgl.mapping import MAPPINGS
from csgnn_dgl.models import CSGNN
from csgnn_dgl.testing import rotate_points
from tests.tolerances import TOLERANCE

LEVEL, SPHERES, CHANNELS = 2, 4, 2


def make_model(**options: Any) -> CSGNN:
    """A small model whose norms have moments as after a training."""
    sizes: dict[str, Any] = {
        "level": LEVEL,
        "num_spheres": SPHERES,
        "channels": CHANNELS,
        "num_classes": 7,
        "base_width": 1,
    }
    model = CSGNN(**sizes, dropout=0.0, num_points=256, **options)
    with torch.no_grad():
        for _ in range(3):
            model(make_clouds(8, torch.float32))
    return model


def make_clouds(count: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(count, 256, 3, dtype=torch.float64).to(dtype)


def logits_and_gradients(model: CSGNN, features: Tensor) -> list[Tensor]:
    model.zero_grad()
    features = features.clone().requires_grad_()
    logits = model.forward_grid(features)
    logits.square().sum().backward()
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    return [logits.detach(), *[value for value in (features.grad, *gradients) if value is not None]]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_computes_what_the_reference_does(training: bool, dtype: torch.dtype, device: str) -> None:
    model = make_model().train(training)
    features = model.mapping(make_clouds(3, torch.float32) / 8)
    wanted = logits_and_gradients(copy.deepcopy(model).double().cpu(), features.double())
    got = logits_and_gradients(model.to(device, dtype), features.to(device, dtype))
    # Behind a ReLU or a maximum, rounding decides now and then which value a gradient passes to.
    for part, share in ((slice(0, 1), 10), (slice(1, 2), 500), (slice(2, None), 500)):
        one, other = (torch.cat([value.flatten().cpu().double() for value in found[part]]) for found in (got, wanted))
        assert float((one - other).norm() / other.norm()) <= share * TOLERANCE[dtype]["rtol"]


@pytest.mark.parametrize("kind", sorted(MAPPINGS))
def test_points_are_mapped_as_on_the_cpu(kind: str, dtype: torch.dtype, device: str) -> None:
    mapping = MAPPINGS[kind](LEVEL, SPHERES, CHANNELS)
    clouds = make_clouds(4, dtype)
    clouds = clouds / clouds.norm(dim=2).amax(dim=1)[:, None, None]
    clouds[:, ::32] = 0
    clouds[0, 1:40:2] = mapping.locator.vertices[:20].to(dtype)  # ties
    wanted = mapping(clouds)
    torch.testing.assert_close(mapping.to(device)(clouds.to(device)).cpu(), wanted, **TOLERANCE[dtype])


def test_logits_are_those_of_the_rotated_clouds(device: str) -> None:
    model = make_model().double().to(device).eval()
    clouds = make_clouds(2, torch.float64).to(device)
    with torch.no_grad():
        wanted = model(clouds)
        for rotation in icosahedral_rotations()[::7]:
            torch.testing.assert_close(model(rotate_points(clouds, rotation)), wanted, **TOLERANCE[torch.float64])


def test_gradients_are_the_same_bits_again(device: str) -> None:
    model = make_model().to(device).train()
    features = model.mapping(make_clouds(4, torch.float32).to(device) / 8).detach()
    first, second = (logits_and_gradients(model, features) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
