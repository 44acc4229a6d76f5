"""The classifier of Fig. 4: its parameters, its forms, its equivariance, and what it says to clouds it can't take."""

import copy
import warnings
from typing import Any

import pytest
import torch

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CSGNN
from csgnn_dgl.models.classifiers.csgnn import resampling
from csgnn_dgl.nn import NormReLU
from csgnn_dgl.testing import assert_equivariant
from tests.forms import FORMS
from tests.tolerances import EXACT, assert_same_up_to_scale

SMALL = {"level": 2, "num_spheres": 3, "channels": 2, "num_classes": 5, "base_width": 1, "num_points": 64}


def small(dtype: torch.dtype = torch.float32, **changes: object) -> CSGNN:
    """A small model in evaluation mode with running statistics that are not those of a fresh one."""
    torch.manual_seed(1)
    model = CSGNN(**{**SMALL, **changes}).to(dtype)  # type: ignore[arg-type]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, NormReLU):
                module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 3_959_784),
        ({"num_spheres": 1}, 3_959_784),
        ({"level": 3, "base_width": 2, "num_spheres": 8}, 614_664),
        ({"level": 3}, 1_529_576),
        ({"level": 5, "num_spheres": 2}, 12_357_608),
    ],
)
def test_parameter_counts_are_the_published_ones(arguments: dict, parameters: int) -> None:
    assert sum(p.numel() for p in CSGNN(**arguments).parameters()) == parameters


def test_the_widths_are_those_of_figure_4() -> None:
    blocks: Any = CSGNN().encoder.blocks
    intra = [[(c.in_channels, c.out_channels) for c in block.intra] for block in blocks]
    radial = [[(c.in_channels, c.out_channels) for c in block.radial] for block in blocks]
    assert intra == [[(8, 32), (32, 32)], [(64, 64)] * 2, [(128, 128)] * 2, [(256, 256)] * 2, [(512, 512)]]
    assert radial == [
        [(32, 64), (64, 64)],
        [(64, 128), (128, 128)],
        [(128, 256), (256, 256)],
        [(256, 512)],
        [(512, 1024)],
    ]
    assert [c.in_features for c in CSGNN().head if isinstance(c, torch.nn.Linear)] == [1984, 512, 256]


def test_all_forms_of_the_model_agree_in_outputs_and_gradients(dtype: torch.dtype) -> None:
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


def test_the_model_is_the_composition_that_the_paper_describes() -> None:
    model = small(torch.float64)
    features = torch.rand(3, 162, 4, 2, dtype=torch.float64)
    h, maxima = features, []
    for index, block in zip((2, 1, 0), model.encoder.blocks, strict=True):
        h = block(model.encoder.grid.levels[index], h)
        maxima.append(h.flatten(0, 1).max(dim=0).values)
        if index:
            count = icosphere(index - 1).num_vertices
            ring = torch.tensor(icosphere(index).neighbours[:count].copy())
            own = torch.arange(count)[:, None]
            members = torch.cat([own, torch.where(ring < 0, own, ring)], dim=1)
            h = h[:, members].amax(dim=2)
    wanted = model.head(torch.cat(maxima, dim=1))
    assert torch.equal(model.forward_grid(features), wanted)


@pytest.mark.parametrize("mapping", ["prism", "shell"])
def test_logits_are_invariant_under_all_sixty_rotations(mapping: str, dtype: torch.dtype) -> None:
    model = small(dtype, mapping=mapping)
    points = torch.randn(3, 64, 3, dtype=dtype)
    points[0, :12] = torch.tensor(icosphere(0).vertices, dtype=dtype)  # ties: corners, midpoints, the centre
    points[1, :30] = torch.tensor(icosphere(1).vertices[12:], dtype=dtype) * 0.5
    points[2, 0] = 0
    assert_equivariant(model, points, outputs_are="invariant")


@pytest.mark.parametrize("pooling", ["max", "mean", "sum"])
def test_features_on_the_grid_may_be_turned_too(pooling: str) -> None:
    model = small(torch.float64, pooling=pooling, kernel_size=5, self_loop=False)
    assert_equivariant(model.forward_grid, torch.rand(3, 162, 2, 2, dtype=torch.float64), outputs_are="invariant")


def test_the_gradient_of_the_overall_maximum_goes_to_the_winner(dtype: torch.dtype) -> None:
    from csgnn_dgl.nn.pool import overall_max

    features = torch.randn(3, 12, 2, 5, dtype=dtype, requires_grad=True)
    seed = torch.randn(2, 5, dtype=dtype)
    (got,) = torch.autograd.grad(overall_max(features), features, seed)
    (wanted,) = torch.autograd.grad(features.flatten(0, 1).max(dim=0).values, features, seed)
    assert torch.equal(got, wanted)


def test_clouds_of_any_scale_give_the_same_logits() -> None:
    model, points = small(torch.float64), torch.randn(2, 64, 3, dtype=torch.float64)
    torch.testing.assert_close(model(points * 37.0), model(points), **EXACT)


def test_other_numbers_of_points_are_resampled_and_the_user_is_told() -> None:
    model = small()
    points = torch.randn(2, 100, 3)
    with pytest.warns(UserWarning, match="clouds of 100 points are resampled to the 64 points"):
        logits = model(points)
    chosen = resampling(100, 64)
    assert torch.equal(model(points[:, chosen]), logits)
    with pytest.warns(UserWarning, match="clouds of 30 points"):
        assert model(points[:, :30]).shape == (2, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(points[:, :64])


@pytest.mark.parametrize(("count", "wanted"), [(100, 64), (64, 100), (10, 95), (7, 7)])
def test_resampling_takes_every_point_as_often_as_it_can(count: int, wanted: int) -> None:
    indices = resampling(count, wanted)
    assert torch.equal(indices, resampling(count, wanted)) and len(indices) == wanted
    times = torch.bincount(indices, minlength=count)
    assert int(times.max()) - int(times.min()) <= 1 and int(times.min()) == wanted // count


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(2, 64, 3), "cloud 0 of the batch has all points at the origin"),
        (
            torch.full((1, 64, 3), float("nan")),
            "cloud 0 of the batch has a coordinate that is NaN or infinite",
        ),
        (
            torch.cat([torch.ones(1, 64, 3), torch.full((1, 64, 3), float("inf"))]),
            "cloud 1 of the batch has a coord",
        ),
        (torch.zeros(64, 3), r"points of shape \(B, N, 3\) with N > 0 expected, got \(64, 3\)"),
        (torch.zeros(2, 0, 3), r"got \(2, 0, 3\)"),
    ],
)
def test_unusable_clouds_are_refused(points: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small()(points)


def test_node_features_are_taken_too() -> None:
    model, features = small(), torch.rand(3, 162, 2, 2)
    assert torch.equal(model.forward_grid(features.flatten(0, 1)), model.forward_grid(features))


def test_features_of_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 162, B, C\) expected"):
        small().forward_grid(torch.zeros(3, 42, 1, 2))
    with pytest.raises(ValueError, match=r"\(3, 162, B, 2\) expected"):
        small().forward_grid(torch.zeros(3, 162, 1, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 6}, "level must be one of 0, 1, 2, 3, 4, 5, not 6"),
        ({"num_spheres": 0}, "num_spheres must be an integer of at least 1"),
        ({"base_width": 0}, "base_width must be an integer of at least 1"),
        ({"mapping": "cube"}, "mapping must be one of prism, shell, not 'cube'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"pooling": "min"}, "reduction must be one of max, mean, sum"),
        ({"kernel_size": 2}, "kernel_size must be an odd integer"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CSGNN(**{**SMALL, **changes})


def test_training_is_one_batch_and_copies_do_not_share_state() -> None:
    model = small().train()
    twin = copy.deepcopy(model)
    model(torch.randn(4, 64, 3)).sum().backward()
    assert all(p.grad is None for p in twin.parameters())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
