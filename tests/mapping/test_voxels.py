"""Density-aware adaptive sampling, against loops over cells and points."""

import math

import pytest
import torch
from torch import Tensor

from csgnn_dgl.mapping.voxels import SphericalVoxels
from tests.tolerances import EXACT, TOLERANCE


def at(radius: float, row: float, cell: float, bandwidth: int) -> list[float]:
    """A point, its latitude and longitude measured in cells."""
    polar, azimuth = math.pi * row / (2 * bandwidth), math.pi * cell / bandwidth
    across = radius * math.sin(polar)
    return [across * math.cos(azimuth), across * math.sin(azimuth), radius * math.cos(polar)]


def by_loops(points: Tensor, bandwidth: int, num_radii: int, wrap: bool) -> Tensor:
    """The definition for one cloud: (2b, 2b, R)."""
    size = 2 * bandwidth
    values = torch.zeros(size, size, num_radii, dtype=torch.float64)
    for row in range(size):
        half = 0.5 / math.sin(math.pi * (2 * row + 1) / (4 * bandwidth))
        for cell in range(size):
            for shell in range(num_radii):
                found = []
                for x, y, z in points.tolist():
                    radius = math.sqrt(x * x + y * y + z * z)
                    polar = math.acos(z / radius) * size / math.pi
                    gap = abs(math.atan2(y, x) % (2 * math.pi) * bandwidth / math.pi - cell)
                    gap = min(gap, size - gap) if wrap else gap
                    value = 1 - abs(radius * (num_radii + 1) - (shell + 1))
                    if min(int(polar), size - 1) == row and gap < half and value > 0:
                        found.append(value)
                values[row, cell, shell] = sum(found) / len(found) if found else 0
    return values


@pytest.mark.parametrize("wrap", [True, False])
def test_values_are_those_of_loops_over_cells_and_points(wrap: bool) -> None:
    clouds = torch.rand(2, 60, 3, dtype=torch.float64) - 0.5
    found = SphericalVoxels(4, 3, wrap)(clouds)
    assert found.shape == (8, 8, 2, 3) and found.any()
    for number, points in enumerate(clouds):
        torch.testing.assert_close(found[:, :, number], by_loops(points, 4, 3, wrap), **TOLERANCE[torch.float64])


def test_a_point_counts_for_the_two_radii_around_it(dtype: torch.dtype) -> None:
    # b = 4, radii at 1/5, ..., 4/5; beside the equator windows are a little wider than a cell.
    points = torch.tensor([[at(0.45, 4.5, 2.1, 4)]], dtype=dtype)
    found = SphericalVoxels(4, 4)(points)[:, :, 0]
    wanted = torch.zeros(8, 8, 4, dtype=dtype)
    wanted[4, 2] = torch.tensor([0, 0.75, 0.25, 0])
    torch.testing.assert_close(found, wanted, **TOLERANCE[dtype])


def test_a_window_has_the_mean_of_its_points() -> None:
    points = torch.tensor([[at(0.4, 4.5, 2.1, 4), at(0.45, 4.5, 1.9, 4)]], dtype=torch.float64)
    found = SphericalVoxels(4, 4)(points)[4, 2, 0]
    wanted = torch.tensor([0, (1 + 0.75) / 2, 0.25, 0], dtype=torch.float64)
    # the first point lies on a radius: whichever shell it is taken to, it counts for it with 1
    torch.testing.assert_close(found[:2], wanted[:2], **TOLERANCE[torch.float64])


def test_windows_are_wide_at_the_poles_and_go_on_across_the_seam() -> None:
    points = torch.tensor([[at(0.4, 0.5, 7.9, 4)]], dtype=torch.float64)
    half = 0.5 / math.sin(math.pi / 16)  # 2.56 cells
    inside = {cell for cell in range(8) if min(abs(cell - 7.9), 8 - abs(cell - 7.9)) < half}
    assert inside == {0, 1, 2, 6, 7}
    for wrap, wanted in ((True, inside), (False, {6, 7})):
        values = SphericalVoxels(4, 4, wrap)(points)[:, :, 0, 1]
        assert {tuple(cell) for cell in values.nonzero().tolist()} == {(0, cell) for cell in wanted}


def test_points_without_a_longitude_or_a_direction() -> None:
    for zero in (0.0, -0.0):
        points = torch.tensor([[[0.0, 0.0, 0.0], [0.0, zero, 1.0], [zero, zero, -1.0], [zero, 0.0, 0.5]]])
        values = SphericalVoxels(4, 4)(points)[:, :, 0]
        assert values[0].any(dim=-1).all() and values[0].sum() == values[0, 0].sum() * 8
        assert not values[1:7].any()
        assert not values[7].any()  # the point on the ball has the radius 1, the outermost is 4/5


def test_gradients_are_finite_at_the_origin() -> None:
    points = torch.zeros(1, 2, 3, dtype=torch.float64)
    points[0, 1] = torch.tensor([0.1, 0.2, 0.33])
    points.requires_grad_()
    SphericalVoxels(4, 4)(points).square().sum().backward()
    assert points.grad is not None and points.grad.isfinite().all() and points.grad[0, 1].any()


def test_turning_by_a_cell_moves_the_values_by_a_cell() -> None:
    angle = math.pi / 4 * torch.arange(8, dtype=torch.float64)
    clouds = torch.randn(1, 200, 3, dtype=torch.float64)
    clouds = clouds / clouds.norm(dim=-1).max()
    voxels = SphericalVoxels(4, 6)
    wanted = voxels(clouds)
    for cells, (cos, sin) in enumerate(zip(angle.cos(), angle.sin(), strict=True)):
        x, y, z = clouds.unbind(-1)
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)
        torch.testing.assert_close(voxels(turned), wanted.roll(cells, 1), **EXACT)
