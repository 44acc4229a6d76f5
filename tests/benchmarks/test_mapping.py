import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.mapping import MEMORY_MODES, PointLoop, build_mapping, build_steps, draw_clouds
from benchmarks.sizes import SIZES, new_model
from csgnn_dgl.mapping import MAPPINGS
from tests.mapping.brute_force import brute_force, random_points
from tests.tolerances import TOLERANCE


@pytest.mark.parametrize("kind", sorted(MAPPINGS))
def test_the_loop_over_points_is_the_mapping(kind):
    clouds = random_points(60, np.random.default_rng(0)).reshape(2, 30, 3)
    mapping = MAPPINGS[kind](2, 3, 2)
    loop = PointLoop(mapping)
    expected = brute_force(kind, clouds, 2, 3, 2, 0.01, 1e-12)
    ours = mapping(torch.from_numpy(clouds))
    for sample, cloud in enumerate(clouds):
        found = torch.from_numpy(loop(cloud).copy())
        torch.testing.assert_close(found, torch.from_numpy(expected[:, :, sample].copy()), **TOLERANCE[torch.float64])
        torch.testing.assert_close(found, ours[:, :, sample], **TOLERANCE[torch.float64])


def test_a_difference_is_noticed_before_timing(monkeypatch):
    options: dict[str, Any] = {"level": 1, "num_spheres": 2, "channels": 2, "num_points": 20, "batch": 3}
    assert set(build_mapping("shell", **options).actions) == {"batched", "looped"}
    monkeypatch.setattr(PointLoop, "__call__", lambda self, cloud: np.ones(self.shape))
    with pytest.raises(RuntimeError, match="mapping shell and its loop differ by"):
        build_mapping("shell", **options)


@pytest.mark.parametrize("mode", MEMORY_MODES)
def test_steps_from_clouds_run_in_every_mode_that_saves_memory(mode):
    size = dataclasses.replace(SIZES["tiny"], batch=8)
    for action in build_steps(size, **MEMORY_MODES[mode], num_points=20).actions.values():
        action()


def test_a_step_from_clouds_is_a_step_by_hand(monkeypatch):
    size, models = SIZES["tiny"], []

    def keep(*arguments, **options):
        models.append(new_model(*arguments, **options, dropout=0.0))
        return models[-1]

    monkeypatch.setattr("benchmarks.mapping.new_model", keep)
    build_steps(size, num_points=20).actions["training"]()
    torch.manual_seed(0)
    other = keep(size, num_points=20)
    labels = torch.arange(size.batch) % size.num_classes
    features = other.mapping(draw_clouds(size.batch, 20))
    torch.nn.functional.cross_entropy(other.forward_grid(features), labels).backward()
    for one, two in zip(models[0].parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, **TOLERANCE[torch.float32])
