"""The interpolated mapping against its definition, and the properties that follow from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csgnn_dgl.geometry import icosahedral_rotations, icosphere, vertex_permutations
from csgnn_dgl.mapping import Environments, InterpolatedMapping, NearestVertexMapping, find_environments
from csgnn_dgl.mapping.neighbours import INNER_RADIUS
from tests.mapping.brute_force import random_points
from tests.mapping.test_nearest import tied_directions
from tests.tolerances import EXACT, NUMERIC, TOLERANCE, times

DTYPES = [torch.float32, torch.float64]
both = pytest.mark.parametrize("shells", ["published", "uniform"])


def brute_force(
    environments: Environments, level: int, spheres: int, channels: int, cutoff: float, shells: str
) -> torch.Tensor:
    """Features (R, V, N, C), neighbour by neighbour: hat functions of the radius, a 3×3 system for the direction."""
    sphere, number, inner = icosphere(level), spheres * channels, INNER_RADIUS[shells]
    corners = sphere.vertices[sphere.faces]
    width = (cutoff - inner) / number
    # the hats' values at the centres of the shells, 1 further in and 0 at the cutoff
    centres = np.array([0.0, *(inner + width * (np.arange(number) + 0.5)), cutoff])
    values = np.vstack([np.eye(number)[0], np.eye(number), np.zeros(number)])
    result = np.zeros((number, sphere.num_vertices, len(environments)))
    for vector, centre in zip(environments.vectors.double().numpy(), environments.centre.tolist(), strict=True):
        distance = np.linalg.norm(vector)
        coefficients = np.linalg.solve(corners.swapaxes(1, 2), vector[:, None])[..., 0]
        face = coefficients.min(axis=1).argmax()
        weights = coefficients[face] / coefficients[face].sum()
        hats = np.array([np.interp(distance, centres, values[:, shell]) for shell in range(number)])
        result[:, sphere.faces[face], centre] += hats[:, None] * weights / distance
    return torch.from_numpy(result.reshape(spheres, channels, -1, len(environments)).transpose(0, 2, 3, 1).copy())


def environments_of(vectors: np.ndarray) -> Environments:
    """Two environments in float64 that share the vectors."""
    centre = torch.arange(2).repeat_interleave(torch.tensor([len(vectors) // 2, len(vectors) - len(vectors) // 2]))
    return Environments(torch.from_numpy(vectors), centre, torch.zeros_like(centre), 2)


def neighbours(level: int, cutoff: float, rng: np.random.Generator, boundaries: np.ndarray) -> Environments:
    """Random neighbours, and some on edges, vertices, and the centres and boundaries of shells."""
    tied = tied_directions(level)
    near = random_points(40, rng)
    near *= rng.uniform(0.4, cutoff, size=(40, 1)) / np.linalg.norm(near, axis=1, keepdims=True)
    on = tied[rng.integers(len(tied), size=12)] * rng.choice(boundaries, size=(12, 1))
    return environments_of(np.concatenate([near, tied * rng.uniform(0.4, cutoff, size=(len(tied), 1)), on]))


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("level", "spheres", "channels", "cutoff"),
    [(0, 1, 1, 7.0), (0, 1, 4, 7.0), (1, 3, 2, 5.0), (2, 1, 32, 7.0), (3, 4, 8, 6.5)],
)
def test_equals_brute_force(shells, dtype, level, spheres, channels, cutoff, rng):
    boundaries = np.linspace(INNER_RADIUS[shells], cutoff, 2 * spheres * channels + 1)[1:]
    environments = neighbours(level, cutoff, rng, boundaries)
    features = InterpolatedMapping(level, spheres, channels, cutoff, shells)(environments.to(dtype=dtype))
    expected = brute_force(environments, level, spheres, channels, cutoff, shells)
    assert features.shape == expected.shape == (spheres, 10 * 4**level + 2, 2, channels)
    assert features.dtype == dtype
    assert features.is_contiguous()
    # a distance rounded to float32 moves the weights by its rounding times the number of shells
    scale = spheres * channels if dtype == torch.float32 else 1
    tolerance = times(TOLERANCE[dtype], scale)
    torch.testing.assert_close(features, expected.to(dtype), **tolerance)


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("level", "spheres", "channels"), [(0, 2, 2), (2, 1, 8), (3, 1, 32)])
def test_rotations_permute_the_features(shells, dtype, level, spheres, channels, rng):
    mapping = InterpolatedMapping(level, spheres, channels, shells=shells)
    boundaries = np.linspace(INNER_RADIUS[shells], 7.0, 2 * spheres * channels + 1)[1:]
    environments = neighbours(level, 7.0, rng, boundaries).to(dtype=dtype)
    features = mapping(environments)
    rotations, permutations = torch.tensor(icosahedral_rotations()), torch.tensor(vertex_permutations(level))
    scale = spheres * channels if dtype == torch.float32 else 1
    tolerance = times(TOLERANCE[dtype], scale)
    for rotation, permutation in zip(rotations, permutations, strict=True):
        rotated = mapping(environments.rotated(rotation))
        torch.testing.assert_close(rotated[:, permutation], features, **tolerance)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), level=st.integers(0, 3), channels=st.integers(1, 40))
def test_features_move_as_little_as_the_neighbours(seed, level, channels):
    # the paper's mapping jumps by up to 1/d; this one is Lipschitz, but for the cutoff's own neighbours none enters
    rng = np.random.default_rng(seed)
    mapping = InterpolatedMapping(level, 1, channels)
    vectors = random_points(30, rng) * 6.9
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 0.7]
    step = rng.normal(size=vectors.shape)
    step *= 1e-7 / np.linalg.norm(step, axis=1, keepdims=True)
    before, after = mapping(environments_of(vectors)), mapping(environments_of(vectors + step))
    # 3 weights of slopes up to 1 / edge length, 2 hats of slope up to 2 / width, and 1/d
    slope = 1e-7 / 0.7 * (8 * 2**level + 4 * channels / 6 + 1 / 0.7)
    assert float((after - before).abs().max()) <= slope * len(vectors)


def test_the_shares_add_up_and_fade_towards_the_cutoff():
    mapping = InterpolatedMapping(2, 2, 8)
    width = 6.0 / 16
    distance = torch.tensor([0.5, 1.1, 3.0, 5.0, 7 - width / 2, 7 - width / 4, 7.0], dtype=torch.float64)
    points = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)).T * distance
    spread = mapping.spread(points, distance)
    total = torch.zeros(7, dtype=torch.float64).index_add(0, spread.neighbour, spread.share)
    torch.testing.assert_close(total, torch.tensor([1, 1, 1, 1, 1, 0.5, 0], dtype=torch.float64), **EXACT)
    assert (spread.share >= 0).all()


def test_a_neighbour_on_a_vertex_in_the_centre_of_a_shell_is_where_the_papers_mapping_puts_it():
    vertices = torch.from_numpy(icosphere(1).vertices.copy())
    distance = 1 + 6.0 / 32 * (5 + 0.5)
    centre = torch.arange(42)
    environments = Environments(vertices * distance, centre, centre, 42)
    torch.testing.assert_close(InterpolatedMapping(1)(environments), NearestVertexMapping(1)(environments), **EXACT)


def test_gradients_are_those_of_finite_differences(rng):
    mapping = InterpolatedMapping(1, 1, 4)
    centre = torch.zeros(6, dtype=torch.long)
    vectors = torch.from_numpy(random_points(6, rng) * 6 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: mapping(Environments(v, centre, centre, 1)), vectors, eps=1e-7, **NUMERIC)


def test_no_neighbours_give_no_features():
    none = torch.zeros(0, dtype=torch.long)
    features = InterpolatedMapping(2, 2, 4)(Environments(torch.zeros(0, 3), none, none, 3))
    assert features.shape == (2, 162, 3, 4)
    assert not features.any()


def test_keeps_its_tables_and_refuses_what_all_mappings_refuse():
    mapping = InterpolatedMapping()
    assert "level=3, num_spheres=1, channels=32, cutoff=7, shells='published'" in repr(mapping)
    assert not mapping.state_dict()
    with pytest.raises(ValueError, match="shells must be 'published' or 'uniform', not 'log'"):
        InterpolatedMapping(shells="log")  # type: ignore[arg-type]
    environments = find_environments(np.array([[0, 0, 0], [0, 0, 6.9]]))
    with pytest.raises(ValueError, match=r"a neighbour lies at 6\.9 Å, beyond the cutoff of 5 Å"):
        InterpolatedMapping(0, cutoff=5.0)(environments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu(rng):
    mapping = InterpolatedMapping(3, 2, 16)
    environments = neighbours(3, 7.0, rng, np.array([1.0, 4.0, 7.0]))
    expected = mapping(environments)
    torch.testing.assert_close(mapping.cuda()(environments.to("cuda")).cpu(), expected, **TOLERANCE[torch.float64])
