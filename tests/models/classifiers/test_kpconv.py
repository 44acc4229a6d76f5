"""KPConv: its parameters block by block, its forms, the order of points, and what a rotation does to it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.data.clouds.sources import load
from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models import KPConv
from csgnn_dgl.nn import Norm
from csgnn_dgl.nn.kernel_points import KernelPointConv
from csgnn_dgl.nn.ops.ragged import coarser, grid_subsampling, within_radius
from csgnn_dgl.testing import rotate_points
from tests.tolerances import ROUNDED, TOLERANCE, approx, assert_same_up_to_scale

SMALL: dict[str, Any] = {"width": 8, "cell_size": 0.15, "hidden": 16, "num_classes": 5}


def small(dtype: torch.dtype = torch.float32, **changes: Any) -> KPConv:
    """A small model in evaluation mode with running statistics that are not those of a fresh one."""
    torch.manual_seed(1)
    model = KPConv(**{**SMALL, **changes}).to(dtype)
    for module in model.modules():
        if isinstance(module, Norm):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def clouds(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_parameters_of_each_block_are_the_authors() -> None:
    model = KPConv()
    wanted = [7744, 6080, 30336, 23936, 23936, 120064, 94976, 94976, 477696, 378368, 378368, 1905664, 1510400]
    assert [count(block) for block in model.blocks] == wanted
    assert [block.strided for block in model.blocks] == [place in (1, 4, 7, 10) for place in range(13)]
    assert (count(model.first), count(model.head[0]), count(model.head[2])) == (544, 1_049_600, 41_000)
    assert count(model) == 6_143_688
    assert sum(conv.kernel_points.numel() for conv in convolutions(model)) == 14 * 15 * 3


def test_the_reduced_model_has_the_parameters_of_its_config() -> None:
    assert count(KPConv(width=32, cell_size=0.08)) == 1_834_360


def convolutions(model: KPConv) -> list[KernelPointConv]:
    return [module for module in model.modules() if isinstance(module, KernelPointConv)]


def test_the_geometry_doubles_at_each_level() -> None:
    found = [(conv.radius, conv.extent / conv.radius) for conv in convolutions(KPConv(cell_size=0.06))]
    levels = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert found == [(approx(0.15 * 2**level, **ROUNDED), approx(0.48, **ROUNDED)) for level in levels]


def test_both_forms_have_the_same_answers_and_gradients(dtype: torch.dtype) -> None:
    results = []
    for form in ("fast", "reference"):
        model, points = small(dtype, form=form), clouds(dtype).requires_grad_()
        result = model(points)
        result.square().sum().backward()
        results.append([result.detach(), points.grad, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*results, strict=True):
        assert_same_up_to_scale(one, other)


def test_the_order_of_the_points_changes_no_bit() -> None:
    model, points = small(), clouds()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(3))
    assert torch.equal(model(points[:, order]), model(points))


def test_a_large_neighbourhood_in_the_batch_changes_nothing(dtype: torch.dtype) -> None:
    model, points = small(dtype), clouds(dtype)
    crowded = torch.cat([points, torch.cat([0.1 * points[:1, 1:], points[:1, :1]], dim=1)])
    torch.testing.assert_close(model(crowded)[:3], model(points), **TOLERANCE[dtype])


@pytest.mark.parametrize("size", [1, 2, 500])
def test_any_number_of_points_will_do(size: int) -> None:
    points = torch.randn(2, size, 3)
    assert small()(points).isfinite().all()


def test_the_unit_of_length_does_not_matter() -> None:
    model, points = small(torch.float64), clouds(torch.float64)
    torch.testing.assert_close(model(4 * points), model(points), **TOLERANCE[torch.float64])


def test_a_rotation_changes_the_answer() -> None:
    """No symmetry is claimed.

    The logits of these clouds, which have no shape, move by 1.3 to 1.9 times their spread over the clouds.
    """
    model, points = small(torch.float64), clouds(torch.float64)
    with torch.no_grad():
        wanted = model(points)
        spread = float((wanted - wanted.mean(dim=0)).square().mean().sqrt())
        for rotation in random_rotations(5, np.random.default_rng(0)):
            moved = float((model(rotate_points(points, rotation)) - wanted).square().mean().sqrt()) / spread
            assert 0.5 < moved < 2


def test_bfloat16_autocast_answers_about_the_same() -> None:
    model, points = small(), clouds()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(points)
    torch.testing.assert_close(found.float(), model(points), **TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 6}, "width must be a multiple of 4, not 6"),
        ({"width": 0}, "width must be an integer of at least 1, not 0"),
        ({"hidden": 0}, "hidden must be an integer of at least 1, not 0"),
        ({"seed": 0.5}, "seed must be an integer of at least 0, not 0.5"),
        ({"cell_size": 0.0}, "cell_size must be from 0.001 to 1, not 0.0"),
        ({"cell_size": float("nan")}, "cell_size must be from 0.001 to 1, not nan"),
        ({"form": "compiled"}, "form must be one of auto, fast, reference, not 'compiled'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        small(**arguments)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 5, 3), (2, 5, 4), (5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^points of shape \(B, N, 3\) with B, N > 0 expected, got \("):
        small()(torch.ones(shape))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="^cloud 1 of the batch has a coordinate that is NaN or infinite"):
        small()(torch.stack([torch.ones(9, 3), torch.full((9, 3), torch.nan)]))


def test_real_clouds_have_the_points_and_neighbours_that_others_counted(modelnet40_folder: Path) -> None:
    points = torch.as_tensor(load(str(modelnet40_folder), "test", num_points=1024).points[:60])
    level, radius = grid_subsampling(scale_to_unit_ball(points), 0.06), 0.15
    sizes, neighbours = [], []
    for _ in range(5):
        sizes.append(round(len(level.points) / 60))
        counts = within_radius(level, level, radius).offsets.diff()
        neighbours.append(round(float(level.mean(counts[:, None].float()).mean())))
        level, radius = coarser(level), 2 * radius
    assert sizes == [488, 178, 61, 22, 9]
    assert neighbours[:3] == [20, 23, 22]
