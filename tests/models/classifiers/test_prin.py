"""PRIN: its parameters, what does not change its answer, and by how much rotations do."""

from typing import Any

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry.rotations import random_rotations, rotations_about
from csgnn_dgl.models import PRIN
from csgnn_dgl.testing import rotate_points
from tests.tolerances import TOLERANCE

REDUCED: dict[str, Any] = {
    "radii": "channels",
    "bandwidth": 8,
    "num_radii": 16,
    "num_taps": 16,
    "widths": (20, 20, 25),
    "head": (128, 64),
}
CLOSE = TOLERANCE[torch.float64]


def settled(**changes: Any) -> PRIN:
    """A reduced model in evaluation mode, with the running averages of one batch of clouds."""
    torch.manual_seed(1)
    model = PRIN(**{**REDUCED, "num_classes": 5, **changes}).double()
    with torch.no_grad():
        model(clouds(8))
    return model.eval()


def clouds(count: int) -> torch.Tensor:
    """Lumps of points, none of them round."""
    generator = torch.Generator().manual_seed(count)
    points = torch.randn(count, 300, 3, dtype=torch.float64, generator=generator)
    return points * torch.rand(count, 1, 3, dtype=torch.float64, generator=generator).add(0.2)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 375_530),
        ({"radii": "channels", "widths": (100, 100, 100), "head": ()}, 1_694_540),
        ({"radii": "channels", "widths": (100, 100, 100)}, 1_755_180),
        ({"widths": (112, 112, 112)}, 1_681_560),
        (REDUCED, 34_283),
        ({**REDUCED, "widths": (40, 40, 50), "head": (256, 128)}, 120_110),
    ],
)
def test_parameter_counts_are_those_of_the_layers(arguments: dict, parameters: int) -> None:
    assert sum(p.numel() for p in PRIN(**arguments).parameters()) == parameters


@pytest.mark.parametrize("radii", ["mean", "channels"])
def test_rotations_about_the_polar_axis_by_whole_cells_change_nothing(radii: str) -> None:
    model, points = settled(radii=radii), clouds(3)
    with torch.no_grad():
        wanted = model(points)
        for cells in (1, 5, 8):
            turned = rotate_points(points, rotations_about(np.eye(3)[2:], np.pi / 8 * cells)[0])
            torch.testing.assert_close(model(turned), wanted, **CLOSE)


def test_the_authors_seam_breaks_that() -> None:
    model, points = settled(wrap=False), clouds(3)
    with torch.no_grad():
        turned = rotate_points(points, rotations_about(np.eye(3)[2:], np.pi / 8)[0])
        assert (model(turned) - model(points)).abs().max() > 1e-3


def test_other_rotations_move_the_logits_by_less_than_other_clouds_do() -> None:
    """Root mean square over 20 rotations, untrained: three quarters of the logits' spread over clouds."""
    model, points = settled(), clouds(16)
    with torch.no_grad():
        wanted = model(points)
        rotations = random_rotations(20, np.random.default_rng(0))
        drift = torch.stack([model(rotate_points(points, rotation)) - wanted for rotation in rotations])
    share = float(drift.square().mean().sqrt() / wanted.std(dim=0).square().mean().sqrt())
    assert 0.01 < share < 1


@pytest.mark.parametrize("radii", ["mean", "channels"])
def test_the_order_of_the_points_does_not_matter(radii: str) -> None:
    model, points = settled(radii=radii), clouds(3)
    with torch.no_grad():
        torch.testing.assert_close(model(points[:, torch.randperm(300)]), model(points), **CLOSE)


def test_the_published_classifier_does_not_see_how_far_points_are() -> None:
    # With one point in a window, its values at the two radii around it add up to 1, wherever it lies between them.
    directions = torch.randn(1, 4, 3, dtype=torch.float64)
    directions[..., 2] = torch.tensor([0.0, 2.0, -2.0, 5.0])  # each in a row of its own
    directions = directions / directions.norm(dim=-1, keepdim=True)
    near, far = (directions * torch.tensor([1.0, *radii]).unsqueeze(1) for radii in ([0.2, 0.3, 0.4], [0.6, 0.5, 0.9]))
    found = {}
    for radii in ("mean", "channels"):
        model = settled(radii=radii)
        with torch.no_grad():
            found[radii] = model(near) - model(far)
    torch.testing.assert_close(found["mean"], torch.zeros_like(found["mean"]), **CLOSE)
    assert found["channels"].abs().max() > 1e-2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radii": "sum"}, "radii must be one of mean, channels, not 'sum'"),
        ({"bandwidth": 1}, "bandwidth must be an integer of at least 2, not 1"),
        ({"num_radii": 0}, "num_radii must be an integer of at least 1, not 0"),
        ({"num_taps": 0}, "num_taps must be an integer of at least 1, not 0"),
        ({"widths": ()}, "widths must name the channels of one convolution at least, not none"),
        ({"head": (8, 0)}, "width must be an integer of at least 1, not 0"),
    ],
)
def test_arguments_out_of_their_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PRIN(**{**REDUCED, **arguments})


def test_what_is_no_batch_of_clouds_is_refused() -> None:
    with pytest.raises(ValueError, match="points of shape"):
        settled()(torch.randn(7, 3))
