import numpy as np
import pytest
import torch

from benchmarks.mapping import PointLoop, make
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
    options = {"level": 1, "num_spheres": 2, "channels": 2, "num_points": 20, "batch": 3}
    facts, actions = make("shell", **options)
    assert facts["difference"] < 1e-5
    assert set(actions) == {"batched", "looped"}
    monkeypatch.setattr(PointLoop, "__call__", lambda self, cloud: np.ones(self.shape))
    with pytest.raises(RuntimeError, match="mapping shell and its loop differ by"):
        make("shell", **options)
