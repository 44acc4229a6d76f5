import numpy as np
import pytest
from scipy.spatial import ConvexHull

from csgnn_dgl.data.clouds.solids import (
    SECTIONS,
    Solid,
    arch,
    ball,
    box,
    cylinder,
    frustum,
    join,
    loft,
    rod,
    turned_profile,
)
from csgnn_dgl.geometry import icosphere
from tests.tolerances import EXACT, approx

POLYGON = SECTIONS / 2 * np.sin(2 * np.pi / SECTIONS)
"""Area of a regular polygon of so many sides in the unit circle."""


def extent(solid: Solid) -> np.ndarray:
    return np.stack([solid.vertices.min(axis=0), solid.vertices.max(axis=0)])


@pytest.mark.parametrize(
    ("solid", "volume", "bounds"),
    [
        (box(1, 2, 3), 6, [[-0.5, -1, 0], [0.5, 1, 3]]),
        (cylinder(2, 3), 12 * POLYGON, [[-2, -2, 0], [2, 2, 3]]),
        (cylinder(2, 3, 1), 7 * POLYGON, [[-2, -2, 0], [2, 2, 3]]),
        (frustum((2, 2), (1, 1), 3), 7, [[-1, -1, 0], [1, 1, 3]]),
        (frustum((2, 4), (2, 4), 1, shift=1), 8, [[-1, -2, 0], [1, 3, 1]]),
        (box(1, 2, 3).turned("x", 90), 6, [[-0.5, -3, -1], [0.5, 0, 1]]),
        (box(1, 2, 3).turned("y", 90), 6, [[0, -1, -0.5], [3, 1, 0.5]]),
        (box(1, 2, 3).turned("z", 90).moved(1, 2, 3), 6, [[0, 1.5, 3], [2, 2.5, 6]]),
        (box(1, 1, 1).stretched(2, 3, 4), 24, [[-1, -1.5, 0], [1, 1.5, 4]]),
        (turned_profile([0, 2, 2, 1, 1, 0], [0, 0, 3, 3, 2, 2]), 11 * POLYGON, [[-2, -2, 0], [2, 2, 3]]),
        (turned_profile([0, 2, 2, 0], [0, 0, 3, 3]), 12 * POLYGON, [[-2, -2, 0], [2, 2, 3]]),
        (join([box(1, 1, 1), box(1, 1, 1).moved(z=5)]), 2, [[-0.5, -0.5, 0], [0.5, 0.5, 6]]),
    ],
)
def test_volumes_and_bounds(solid: Solid, volume: float, bounds: list[list[float]]) -> None:
    mesh = solid.mesh()
    mesh.merge_vertices()
    assert mesh.is_watertight
    assert abs(mesh.volume) == approx(volume, **EXACT)
    np.testing.assert_allclose(extent(solid), bounds, **EXACT)


def test_faces_of_lofts_point_outward() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    assert loft(corners, corners + np.array([0.0, 0, 2])).mesh().volume == approx(2, **EXACT)


def test_an_open_profile_makes_an_open_surface() -> None:
    mesh = turned_profile([2, 2, 2], [0, 1, 3]).mesh()
    assert mesh.area == approx(2 * SECTIONS * np.sin(np.pi / SECTIONS) * 2 * 3, **EXACT)
    assert (mesh.triangles_center * mesh.face_normals)[:, :2].sum(axis=1).min() > 1.9


def test_an_ellipsoid() -> None:
    solid = ball(1, 2, 3)
    np.testing.assert_allclose((solid.vertices**2 / [1, 4, 9]).sum(axis=1), 1, **EXACT)
    inscribed = ConvexHull(icosphere(2).vertices).volume
    assert solid.mesh().volume == approx(6 * inscribed, **EXACT)


@pytest.mark.parametrize("end", [(0, 0, 2), (2, 0, 0), (1, 2, -2), (0, -3, 0)])
def test_a_rod_runs_between_its_ends(end: tuple[float, float, float]) -> None:
    start = np.array([1.0, 1.0, 1.0])
    solid = rod(start, start + end, 0.1)
    length = np.linalg.norm(end)
    along = (solid.vertices - start) @ (np.array(end) / length)
    across = np.linalg.norm(solid.vertices - start - along[:, None] * np.array(end) / length, axis=1)
    np.testing.assert_allclose([float(along.min()), float(along.max())], [0, float(length)], **EXACT)
    np.testing.assert_allclose(across.max(), 0.1, **EXACT)
    assert solid.mesh().volume == approx(POLYGON * 0.01 * length, **EXACT)


def test_an_arch() -> None:
    solid = arch(2.0, 6.0, 0.1)
    np.testing.assert_allclose(extent(solid), [[0, -0.1, -3.1], [2.1, 0.1, 3.1]], **EXACT)
    half = np.pi * np.sqrt((4 + 9) / 2)  # about half the ellipse
    smooth = half * 2 * np.pi * 0.1
    assert 0.94 * smooth < solid.mesh().area < smooth  # inscribed
