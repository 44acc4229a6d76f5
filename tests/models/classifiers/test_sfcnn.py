"""SFCNN-R: its parameters, its operations against loops over points, its symmetry, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.geometry.rotations import rotations_about
from csgnn_dgl.mapping.unit_ball import centre_clouds
from csgnn_dgl.models import SFCNN
from csgnn_dgl.models.projection import SphereProjection
from csgnn_dgl.nn import Norm
from csgnn_dgl.testing import assert_equivariant
from tests.forms import FORMS
from tests.tolerances import EXACT, TOLERANCE, assert_same_up_to_scale, times

SMALL = {"level": 2, "projection": (4, 8), "widths": ((8, 8), (16,), (16,)), "head": (16, 8), "num_classes": 5}
REDUCED = {"level": 3, "projection": (32, 64), "widths": ((64, 64), (128, 128), (256, 256), (512,))}


def small(dtype: torch.dtype = torch.float32, **changes: object) -> SFCNN:
    """A small model in evaluation mode with running statistics that are not those of a fresh one."""
    torch.manual_seed(1)
    model = SFCNN(**{**SMALL, **changes}).to(dtype)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, Norm):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.normal_(module.weight)  # of both signs
    return model.eval()


@pytest.mark.parametrize(("arguments", "parameters"), [({}, 9_207_976), (REDUCED, 815_784)])
def test_parameter_counts_are_those_of_the_reconstruction(arguments: dict, parameters: int) -> None:
    assert sum(p.numel() for p in SFCNN(**arguments).parameters()) == parameters


def test_the_projection_is_a_maximum_over_the_points_nearest_in_angle() -> None:
    torch.manual_seed(0)
    projection = SphereProjection(1, 5, (4, 6)).double().eval()
    points = torch.randn(2, 40, 3, dtype=torch.float64) * 0.3
    points[0, 7] = 0
    found = projection(points)
    for cloud in range(2):
        for v, vertex in enumerate(icosphere(1).vertices):
            seen = []
            for point in points[cloud].numpy():
                length = np.linalg.norm(point)
                cosine = point @ vertex / length if length else 0.0
                angle = np.arccos(np.clip(cosine, -1, 1)) if length else np.pi / 3
                seen.append((angle, length, cosine, np.linalg.norm(point - vertex)))
            nearest = torch.tensor(np.array(sorted(seen)[:5])[:, 1:])
            wanted = projection.norm_max(projection.linear(projection.mlp(nearest)[:, None])).amax(dim=0)
            torch.testing.assert_close(found[v, cloud], wanted, **TOLERANCE[torch.float64])


def test_the_model_is_the_composition_that_the_sheet_describes() -> None:
    model, points = small(torch.float64), torch.randn(3, 64, 3, dtype=torch.float64)
    points = points - points.mean(dim=1, keepdim=True)
    points = points / points.norm(dim=2).amax(dim=1)[:, None, None]
    h, maxima = model.projection(points), []
    for level, block in zip((2, 1, 0), model.blocks, strict=True):
        rings = [ring[ring >= 0].tolist() for ring in icosphere(level).neighbours]
        for conv, norm in block:
            heard = torch.stack([(h[ring] @ conv.weight[1]).amax(dim=0) for ring in rings])
            h = norm(h @ conv.weight[0] + conv.bias + heard)
        maxima.append(h.amax(dim=0))
        if level:
            h = torch.stack([h[[u, *rings[u]]].amax(dim=0) for u in range(icosphere(level - 1).num_vertices)])
    wanted = model.head(torch.cat(maxima, dim=1))
    torch.testing.assert_close(model(points), wanted, **TOLERANCE[torch.float64])


def test_all_forms_agree_in_outputs_and_gradients(dtype: torch.dtype) -> None:
    points = torch.randn(4, 64, 3, dtype=dtype)
    outcomes = []
    for form in FORMS:
        model = small(dtype, form=form)
        x = points.clone().requires_grad_()
        logits = model(x)
        logits.square().sum().backward()
        outcomes.append([logits.detach(), x.grad, *(p.grad for p in model.parameters())])
    for outcome in outcomes[1:]:
        for got, wanted in zip(outcome, outcomes[0], strict=True):
            assert_same_up_to_scale(got, wanted)


def test_logits_are_invariant_under_all_sixty_rotations(dtype: torch.dtype) -> None:
    assert_equivariant(small(dtype), torch.randn(3, 64, 3, dtype=dtype), outputs_are="invariant")


def test_other_rotations_move_the_logits_by_less_than_clouds_differ() -> None:
    """Untrained, level 2, 16 clouds about a five-fold axis: by 72° nothing moves, by 36° less than half the spread."""
    torch.manual_seed(0)
    points = torch.randn(16, 200, 3, dtype=torch.float64) * torch.rand(16, 1, 3)
    model = small(torch.float64)
    with torch.no_grad():
        logits = model(points)
        moved = {}
        for degrees in (36, 72):
            rotation = torch.from_numpy(rotations_about(icosphere(0).vertices[:1], np.deg2rad(degrees))[0])
            moved[degrees] = float((model(points @ rotation.T) - logits).norm() / (logits - logits.mean(dim=0)).norm())
    print(f"moved by {moved[36]:.2f} of the spread over clouds under 36°, {moved[72]:.0e} under 72°")
    assert moved[72] < TOLERANCE[torch.float64]["rtol"] < moved[36] < 0.5


def test_order_place_and_scale_of_the_points_do_not_matter() -> None:
    model, points = small(torch.float64), torch.randn(2, 64, 3, dtype=torch.float64)
    logits = model(points)
    torch.testing.assert_close(model(points[:, torch.randperm(64)]), logits, **times(EXACT, 1000))
    torch.testing.assert_close(model(points * 37 + 5), logits, **TOLERANCE[torch.float64])


def test_more_points_are_taken_as_they_are() -> None:
    assert small()(torch.randn(2, 500, 3)).isfinite().all()


def test_a_point_on_a_vertex_and_one_at_the_centroid_have_gradients() -> None:
    points = torch.cat([torch.tensor(icosphere(1).vertices), torch.zeros(1, 3, dtype=torch.float64)])[None]
    assert torch.equal(centre_clouds(points)[0, -1].round(decimals=12).abs(), torch.zeros(3, dtype=torch.float64))
    points.requires_grad_()
    small(torch.float64)(points).sum().backward()
    assert points.grad is not None and points.grad.isfinite().all()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.randn(2, 10, 3), "16 neighbours asked for in clouds of 10 points"),
        (torch.ones(2, 64, 3), "cloud 0 of the batch has all points at"),
        (torch.full((1, 64, 3), float("nan")), "cloud 0 of the batch has a coordinate that is NaN or infinite"),
        (torch.zeros(64, 3), r"got \(64, 3\)"),
    ],
)
def test_unusable_clouds_are_refused(points: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small()(points)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": -1}, "level must be an integer of at least 0"),
        ({"widths": ((8,), (8,))}, "for each of the 3 levels"),
        ({"widths": ((8,), (), (8,))}, "one convolution or more"),
        ({"widths": ((8,), (0,), (8,))}, r"widths\[1\]\[0\] must be an integer of at least 1"),
        ({"projection": ()}, "layers must be an integer of at least 1"),
        ({"num_neighbours": 0}, "num_neighbours must be an integer of at least 1"),
        ({"head": (8, 0)}, r"head\[1\] must be"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"form": "slow"}, "form must be one of"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
