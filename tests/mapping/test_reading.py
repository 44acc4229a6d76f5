import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosahedral_rotations, icosphere
from csgnn_dgl.mapping import GridReading
from csgnn_dgl.testing import assert_equivariant, rotate_grid, rotate_points
from tests.mapping.brute_force import containing_faces
from tests.tolerances import GRADCHECK, TOLERANCE, approx


def read_naively(features: np.ndarray, points: np.ndarray, level: int, channels: int) -> np.ndarray:
    """The definition, point by point: barycentric over any triangle that has the direction, linear between spheres."""
    sphere, (num_spheres, _, _, width) = icosphere(level), features.shape
    radii = [
        np.mean([(i * channels + c + 1) / (num_spheres * channels) for c in range(channels)])
        for i in range(num_spheres)
    ]
    result = np.zeros((*points.shape[:2], width))
    for b, cloud in enumerate(points):
        middle = features[0, :, b].mean(axis=0)
        for n, point in enumerate(cloud):
            radius = float(np.linalg.norm(point))
            if radius == 0:
                result[b, n] = middle
                continue
            face = containing_faces(point / radius, level, 1e-12)[0]
            corners = sphere.vertices[sphere.faces[face]]
            share = np.linalg.solve(corners.T, point / radius)
            share /= share.sum()
            on = [share @ features[i, sphere.faces[face], b] for i in range(num_spheres)]
            stations, values = np.array([0.0, *radii]), np.stack([middle, *on])
            for c in range(width):
                result[b, n, c] = np.interp(radius, stations, values[:, c])
    return result


def special_points(level: int) -> np.ndarray:
    """The centre, vertices, middles of edges, points on spheres, within the first sphere and beyond the last."""
    vertices = icosphere(level).vertices
    edges = icosphere(level).edges[:4]
    middle = vertices[edges].mean(axis=1)
    return np.concatenate(
        [np.zeros((1, 3)), vertices[:4] * 0.5, vertices[5:7], middle * 0.3, middle * 0.01, vertices[3:5] * 2]
    )


@pytest.mark.parametrize(("level", "num_spheres", "channels"), [(0, 1, 1), (1, 3, 1), (2, 2, 4)])
def test_what_is_read_is_the_definition(level: int, num_spheres: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    reading = GridReading(level, num_spheres, channels)
    features = rng.normal(size=(num_spheres, reading.num_vertices, 2, 3))
    special = special_points(level)
    points = np.stack([np.concatenate([special, rng.uniform(-0.6, 0.6, (20, 3))]) for _ in range(2)])
    wanted = read_naively(features, points, level, channels)
    for dtype in (torch.float64, torch.float32):
        found = reading(torch.from_numpy(features).to(dtype), torch.from_numpy(points).to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found, torch.from_numpy(wanted).to(dtype), **TOLERANCE[dtype])


def test_a_constant_is_read_as_itself_and_a_vertex_as_its_own_value() -> None:
    reading = GridReading(2, 4, 1)
    points = torch.randn(2, 50, 3, dtype=torch.float64)
    constant = torch.full((4, 162, 2, 5), 3.0, dtype=torch.float64)
    torch.testing.assert_close(
        reading(constant, points), torch.full((2, 50, 5), 3.0, dtype=torch.float64), **TOLERANCE[torch.float64]
    )
    features = torch.randn(4, 162, 1, 5, dtype=torch.float64)
    vertices = torch.from_numpy(icosphere(2).vertices.copy())[None] * 0.75  # the third of the four spheres
    torch.testing.assert_close(reading(features, vertices)[0], features[2, :, 0], **TOLERANCE[torch.float64])


def test_it_turns_with_the_60_rotations() -> None:
    reading = GridReading(1, 3, 2)
    features = torch.randn(3, 42, 2, 4, dtype=torch.float64)
    special = np.stack([special_points(1)] * 2)
    points = torch.cat([torch.from_numpy(special), torch.randn(2, 40, 3, dtype=torch.float64) / 3], dim=1)
    assert_equivariant(reading, features, points, inputs_are=["grid", "points"], outputs_are="invariant")
    single = reading(features.float(), points.float())
    for g, rotation in enumerate(icosahedral_rotations()):
        turned = reading(rotate_grid(features.float(), g), rotate_points(points.float(), rotation))
        torch.testing.assert_close(turned, single, **TOLERANCE[torch.float32])


def test_it_is_continuous_and_its_gradients_are_those_of_finite_differences() -> None:
    reading = GridReading(0, 2, 1)
    features = torch.randn(2, 12, 1, 2, dtype=torch.float64, requires_grad=True)
    line = torch.linspace(-0.9, 0.9, 4001, dtype=torch.float64)
    path = torch.stack([line, 0.3 * line, 0.1 * line.abs() - 0.02], dim=-1)[None]
    steps = reading(features.detach(), path)[0].diff(dim=0).abs().amax()
    assert float(steps) < 0.05  # of 4,000 steps through cells and spheres and by the centre; a jump is of size 1
    points = torch.rand(1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(reading, (features, points), **GRADCHECK)


@pytest.mark.parametrize(
    ("features", "points", "message"),
    [
        ((3, 42, 1, 2), (1, 5, 3), "are not on the grid; give them as \\(2, 42, clouds, channels\\)"),
        ((2, 42, 1, 2), (2, 5, 3), "do not fit features of 1 clouds"),
        ((2, 42, 1, 2), (1, 5, 2), "do not fit features of 1 clouds"),
    ],
)
def test_what_does_not_fit_is_refused(features: tuple[int, ...], points: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GridReading(1, 2)(torch.zeros(features), torch.zeros(points))
    assert approx(1.0, **TOLERANCE[torch.float64]) == float(GridReading(1, 2).radii[-1])
