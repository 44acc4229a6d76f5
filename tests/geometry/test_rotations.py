"""The rotation group against its axioms, vertex permutations against positions, random rotations against Haar."""

import numpy as np
import pytest
from scipy.stats import kstest

from csgnn_dgl.geometry import icosahedral_rotations, icosphere, random_rotations, vertex_permutations
from csgnn_dgl.geometry.rotations import RotationMode
from tests.tolerances import EXACT, P_VALUE


def test_sixty_distinct_proper_rotations_with_the_identity_first() -> None:
    rotations = icosahedral_rotations()
    assert rotations.shape == (60, 3, 3)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (60, 1, 1)), **EXACT)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, **EXACT)
    assert len(np.unique(rotations.round(9).reshape(60, 9) + 0.0, axis=0)) == 60


def test_the_rotations_are_closed_under_product() -> None:
    rotations = icosahedral_rotations()
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 1, 9)
    distance = np.abs(products - rotations.reshape(1, 60, 9)).max(axis=-1)
    np.testing.assert_allclose(distance.min(axis=1), 0, **EXACT)
    table = distance.argmin(axis=1).reshape(60, 60)
    assert all(sorted(row) == list(range(60)) for row in table.tolist())


def test_the_rotations_have_the_angles_of_the_icosahedral_group() -> None:
    traces = np.trace(icosahedral_rotations(), axis1=1, axis2=2)
    degrees = np.rad2deg(np.arccos(np.clip((traces - 1) / 2, -1, 1))).round().astype(int)
    angles, counts = np.unique(degrees, return_counts=True)
    assert dict(zip(angles.tolist(), counts.tolist(), strict=True)) == {
        0: 1,
        72: 12,
        120: 20,
        144: 12,
        180: 15,
    }


@pytest.mark.parametrize("level", range(5))
def test_permutations_say_where_every_vertex_goes(level: int) -> None:
    vertices, permutations = icosphere(level).vertices, vertex_permutations(level)
    assert permutations.shape == (60, len(vertices))
    moved = np.einsum("gij,vj->gvi", icosahedral_rotations(), vertices)
    np.testing.assert_allclose(vertices[permutations], moved, **EXACT)


def test_permutations_keep_edges() -> None:
    edges = icosphere(3).edges
    for permutation in vertex_permutations(3):
        image = np.sort(permutation[edges], axis=1)
        np.testing.assert_array_equal(image[np.lexsort(image.T[::-1])], edges)


def test_random_rotations_are_uniform_on_so3() -> None:
    rotations = random_rotations(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (20_000, 1, 1)), **EXACT)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, **EXACT)
    angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert kstest(angles, lambda t: (t - np.sin(t)) / np.pi).pvalue > P_VALUE  # Haar density (1 - cos t) / π
    assert kstest(rotations[:, 2, 2], "uniform", args=(-1, 2)).pvalue > P_VALUE  # heights of the image of z


def test_rotations_about_the_vertical_axis_keep_it() -> None:
    rotations = random_rotations(20_000, np.random.default_rng(0), "z")
    np.testing.assert_array_equal(rotations[:, 2], np.tile([0, 0, 1.0], (20_000, 1)))
    np.testing.assert_allclose(np.linalg.det(rotations), 1, **EXACT)
    angles = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert kstest(angles, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > P_VALUE


def test_no_rotation_is_the_identity_and_unknown_modes_are_refused() -> None:
    np.testing.assert_array_equal(random_rotations(2, np.random.default_rng(0), "none"), [np.eye(3)] * 2)
    with pytest.raises(ValueError, match="'none', 'z' or 'SO3', not 'so3'"):
        random_rotations(1, np.random.default_rng(0), "so3")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["SO3", "z", "none"])
def test_rotations_from_a_source_each_are_those_drawn_one_by_one(mode: RotationMode) -> None:
    together = random_rotations(5, [np.random.default_rng(seed) for seed in range(5)], mode)
    alone = [random_rotations(1, np.random.default_rng(seed), mode)[0] for seed in range(5)]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_the_number_of_sources_is_that_of_the_rotations() -> None:
    with pytest.raises(ValueError, match="3 rotations need one source of randomness, or 3 of them, not 2"):
        random_rotations(3, [np.random.default_rng(0)] * 2)
