"""What points carry beside their positions, on its way to the grid."""

import numpy as np
import pytest
import torch

from csgnn_dgl.mapping import MAPPINGS
from csgnn_dgl.testing import assert_equivariant
from tests.mapping.brute_force import brute_force, random_points, tie_points
from tests.tolerances import GRADCHECK, TOLERANCE

LEVEL, SPHERES, CHANNELS = 1, 2, 3


def clouds() -> np.ndarray:
    rng = np.random.default_rng(3)
    ties = tie_points(LEVEL, SPHERES * CHANNELS, rng)
    return np.stack([ties, random_points(len(ties), rng)])


@pytest.mark.parametrize("kind", MAPPINGS)
def test_each_number_is_summed_with_the_kernel_of_its_point(kind: str) -> None:
    points = clouds()
    carried = np.random.default_rng(4).normal(size=(*points.shape[:2], 2))
    mapping = MAPPINGS[kind](LEVEL, SPHERES, CHANNELS)
    found = mapping(torch.from_numpy(points), torch.from_numpy(carried))
    arguments = (kind, points, LEVEL, SPHERES, CHANNELS, 0.01, 1e-12)
    wanted = [brute_force(*arguments), *(brute_force(*arguments, carried[..., k]) for k in range(2))]
    torch.testing.assert_close(found, torch.from_numpy(np.concatenate(wanted, axis=3)), **TOLERANCE[torch.float64])
    torch.testing.assert_close(found[..., :CHANNELS], mapping(torch.from_numpy(points)), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("kind", MAPPINGS)
def test_it_turns_with_the_60_rotations_and_has_gradients(kind: str) -> None:
    points, mapping = torch.from_numpy(clouds()), MAPPINGS[kind](LEVEL, SPHERES, CHANNELS)
    carried = torch.randn(*points.shape[:2], 1, dtype=torch.float64)
    assert_equivariant(mapping, points, carried, inputs_are=["points", "invariant"], outputs_are="grid")
    inner = points[1:, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(mapping, (inner, carried[1:, :4].clone().requires_grad_()), **GRADCHECK)


@pytest.mark.parametrize(
    ("carried", "message"),
    [
        (torch.zeros(1, 5), "give \\(clouds, points, numbers\\) for points \\(1, 5, 3\\)"),
        (torch.zeros(1, 4, 2), "has the shape \\(1, 4, 2\\)"),
        (torch.full((1, 5, 1), torch.nan), "not finite"),
    ],
)
def test_what_cannot_be_carried_is_refused(carried: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MAPPINGS["prism"](1, 2, 1)(torch.zeros(1, 5, 3), carried)
