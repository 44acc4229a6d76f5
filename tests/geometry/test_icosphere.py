"""The icosphere against counts, spherical geometry and a brute-force subdivision."""

from typing import Any

import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.geometry.icosphere import level_of, midpoint_indices
from tests.tolerances import EXACT, approx

LEVELS = range(6)


@pytest.mark.parametrize("level", LEVELS)
def test_counts_follow_the_paper(level: int) -> None:
    sphere = icosphere(level)
    assert sphere.num_vertices == len(sphere.vertices) == 10 * 4**level + 2
    assert sphere.faces.shape == (20 * 4**level, 3)
    assert sphere.edges.shape == (30 * 4**level, 2)
    assert sphere.num_vertices - len(sphere.edges) + len(sphere.faces) == 2  # Euler


@pytest.mark.parametrize("level", LEVELS)
def test_vertices_have_norm_one_and_are_distinct(level: int) -> None:
    vertices = icosphere(level).vertices
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1, **EXACT)
    nearest = cKDTree(vertices).query(vertices, k=2)[0][:, 1]
    assert nearest.min() > 0.014


@pytest.mark.parametrize("level", LEVELS[1:])
def test_coarser_vertices_come_first(level: int) -> None:
    coarse, fine = icosphere(level - 1), icosphere(level)
    np.testing.assert_array_equal(fine.vertices[: coarse.num_vertices], coarse.vertices)
    midpoints = coarse.vertices[coarse.edges].sum(axis=1)
    midpoints /= np.linalg.norm(midpoints, axis=1, keepdims=True)
    np.testing.assert_array_equal(fine.vertices[coarse.num_vertices :], midpoints)


@pytest.mark.parametrize("level", LEVELS)
def test_faces_look_outward_and_tile_the_sphere(level: int) -> None:
    sphere = icosphere(level)
    a, b, c = np.moveaxis(sphere.vertices[sphere.faces], 1, 0)
    volume = np.einsum("fi,fi->f", a, np.cross(b, c))
    assert (volume > 0).all()
    dots = 1 + (a * b).sum(1) + (b * c).sum(1) + (c * a).sum(1)
    assert 2 * np.arctan2(volume, dots).sum() == approx(4 * np.pi, **EXACT)  # Van Oosterom and Strackee


@pytest.mark.parametrize("level", LEVELS[:4])
def test_faces_are_those_of_the_convex_hull(level: int) -> None:
    sphere = icosphere(level)
    hull = {tuple(sorted(face)) for face in ConvexHull(sphere.vertices).simplices.tolist()}
    assert {tuple(sorted(face)) for face in sphere.faces.tolist()} == hull


@pytest.mark.parametrize("level", LEVELS)
def test_edges_are_the_sorted_sides_of_the_faces(level: int) -> None:
    sphere = icosphere(level)
    sides = {tuple(sorted((face[i], face[i - 1]))) for face in sphere.faces.tolist() for i in range(3)}
    assert sphere.edges.tolist() == [list(side) for side in sorted(sides)]


@pytest.mark.parametrize("level", LEVELS[1:])
def test_children_of_a_face_lie_where_they_are_numbered(level: int) -> None:
    parent, child = icosphere(level - 1), icosphere(level)
    for face, (a, b, c) in enumerate(parent.faces[:40].tolist()):
        ab, bc, ca = midpoint_indices(parent, np.array([[a, b], [c, b], [a, c]]))
        expected = [[a, ab, ca], [b, bc, ab], [c, ca, bc], [bc, ca, ab]]
        assert child.faces[4 * face : 4 * face + 4].tolist() == expected


@pytest.mark.parametrize("level", LEVELS)
def test_neighbours_are_the_edges_in_counter_clockwise_order(level: int) -> None:
    sphere = icosphere(level)
    adjacent: dict[int, set[int]] = {vertex: set() for vertex in range(sphere.num_vertices)}
    for i, j in sphere.edges.tolist():
        adjacent[i].add(j)
        adjacent[j].add(i)
    assert (sphere.valences == [5] * 12 + [6] * (sphere.num_vertices - 12)).all()
    for vertex in range(0, sphere.num_vertices, 7):
        ring = sphere.neighbours[vertex][: sphere.valences[vertex]]
        assert set(ring.tolist()) == adjacent[vertex] and ring[0] == min(adjacent[vertex])
        turned = np.cross(sphere.vertices[ring], sphere.vertices[np.roll(ring, -1)])
        assert (turned @ sphere.vertices[vertex] > 0).all()


def test_the_level_is_told_from_the_number_of_vertices() -> None:
    assert [level_of(icosphere(level).num_vertices) for level in LEVELS] == list(LEVELS)
    for count in (0, 1, 13, 41, 2563):
        with pytest.raises(ValueError, match=f"{count} is no icosphere's number of vertices"):
            level_of(count)


def test_icospheres_are_shared_and_read_only() -> None:
    assert icosphere(2) is icosphere(2)
    with pytest.raises(ValueError, match="read-only"):
        icosphere(2).vertices[0] = 0


@pytest.mark.parametrize("level", [-1, 1.5, "2", True, None])
def test_bad_levels_are_refused(level: Any) -> None:
    with pytest.raises(ValueError, match="level must be an integer of at least 0"):
        icosphere(level)
