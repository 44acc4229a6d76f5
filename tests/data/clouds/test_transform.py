from typing import Any

import numpy as np
import pytest
import torch

from csgnn_dgl.data import Augmentation, CloudTransform, TestRotation, centre_clouds
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from tests.tolerances import ROUNDED, TOLERANCE

POINTS = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 40, 3)) * [3.0, 1.0, 0.2] + [5.0, -2.0, 100.0])
KEYS: dict[str, Any] = {"indices": [5, 0, 7, 3, 12, 1], "epoch": [2, 2, 0, 1, 1, 9]}


def unit(points: torch.Tensor) -> torch.Tensor:
    """Centre and scale, naively."""
    clouds = []
    for cloud in points.double().numpy():
        moved = cloud - cloud.sum(axis=0) / len(cloud)
        clouds.append(moved / max(np.linalg.norm(moved, axis=1)))
    return torch.from_numpy(np.stack(clouds))


def test_clouds_are_centred_and_scaled_in_any_place_and_unit() -> None:
    found = CloudTransform()(POINTS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, unit(POINTS).float(), **TOLERANCE[torch.float32])
    for unit_of_length in (1e-9, 1e3):
        for place in (0.0, 1e6):
            moved = CloudTransform()((POINTS + place) * unit_of_length)
            torch.testing.assert_close(moved, found, **TOLERANCE[torch.float32])
    assert torch.equal(CloudTransform()(POINTS.float(), normalised=True), POINTS.float())


def test_the_unit_of_the_augmentation_is_the_largest_norm() -> None:
    augmentation = Augmentation(rotation="z")
    found = CloudTransform(augmentation, seed=4)(POINTS, **KEYS)
    draws = augmentation.draw(4, KEYS["epoch"], KEYS["indices"], 40)
    assert torch.equal(found, draws.apply(CloudTransform()(POINTS)))
    parts = (draws.scale, draws.rotation, draws.translation, draws.jitter)
    for b, cloud in enumerate(unit(POINTS)):
        scale, rotation, shift, jitter = (part[b].double() for part in parts)
        expected = (cloud * scale) @ rotation.T + shift + jitter
        torch.testing.assert_close(found[b], expected.float(), **TOLERANCE[torch.float32])


@pytest.mark.parametrize("changes", [None, Augmentation(), TestRotation("z"), TestRotation("SO3")])
def test_a_cloud_is_a_function_of_seed_epoch_and_index(changes: Augmentation | TestRotation | None) -> None:
    transform = CloudTransform(changes, seed=3)
    whole = transform(POINTS, **KEYS)
    for row, (index, epoch) in enumerate(zip(*KEYS.values(), strict=True)):
        assert torch.equal(transform(POINTS[row : row + 1], [index], epoch)[0], whole[row])
    if changes is not None:
        others = [CloudTransform(changes, 4)(POINTS, **KEYS), transform(POINTS, KEYS["indices"], 5), transform(POINTS)]
        assert all((other != whole).any(dim=-1).any(dim=-1).all() for other in others)


def test_the_classifier_does_the_last_division() -> None:
    model = CSGNN(level=1, num_spheres=2, base_width=1, num_classes=3, num_points=40).eval()
    changed = CloudTransform(Augmentation(), seed=1)(POINTS)
    assert (changed.norm(dim=-1).amax(dim=1) - 1).abs().min() > 1e-3
    with torch.no_grad():
        torch.testing.assert_close(model(changed), model(7 * changed), **TOLERANCE[torch.float32])


def test_centring_keeps_what_float32_would_lose() -> None:
    far = POINTS + 1e9
    torch.testing.assert_close(centre_clouds(far), centre_clouds(POINTS), **ROUNDED)
    assert (centre_clouds(far.float()) - centre_clouds(POINTS)).abs().max() > 1


def test_bad_seeds() -> None:
    with pytest.raises(InputError, match="seed is -1; give a whole number from 0 to 4294967295"):
        CloudTransform(seed=-1)
