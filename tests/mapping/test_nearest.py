"""The nearest-vertex mapping against its definition, and the properties that follow from it."""

import copy

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosahedral_rotations, icosphere, random_rotations, vertex_permutations
from csgnn_dgl.mapping import Environments, NearestVertexMapping, find_environments
from csgnn_dgl.mapping.location import ROUNDING
from csgnn_dgl.mapping.neighbours import INNER_RADIUS
from tests.mapping.brute_force import random_points
from tests.tolerances import EXACT, ROUNDED, TOLERANCE

DTYPES = [torch.float32, torch.float64]
both = pytest.mark.parametrize("shells", ["published", "uniform"])


def brute_force(
    environments: Environments, level: int, spheres: int, channels: int, cutoff: float, shells: str
) -> torch.Tensor:
    """Features (R, V, N, C), neighbour by neighbour, over all vertices."""
    vertices, number = icosphere(level).vertices, spheres * channels
    slack, inner = ROUNDING[environments.vectors.dtype], INNER_RADIUS[shells]
    bounds = np.linspace(inner, cutoff, number + 1)[1:]
    result = np.zeros((spheres, len(vertices), len(environments), channels))
    for vector, centre in zip(environments.vectors.double().numpy(), environments.centre.tolist(), strict=True):
        distance = np.linalg.norm(vector)
        shell = min(int(np.searchsorted(bounds + slack * cutoff, distance)), number - 1)
        far = np.linalg.norm(vertices - vector / distance, axis=1)
        nearest = vertices[far.argmin()]
        # distance of the direction to the plane halfway between the nearest vertex and another one
        across = nearest - vertices
        lengths = np.linalg.norm(across, axis=1)
        tied = (across @ vector / distance <= slack * np.maximum(lengths, 1e-9)) | (lengths == 0)
        result[shell // channels, tied, centre, shell % channels] += 1 / distance / tied.sum()
    return torch.from_numpy(result)


def tied_directions(level: int) -> np.ndarray:
    """Directions halfway between two vertices, between three, on vertices, and on boundaries elsewhere."""
    sphere = icosphere(level)
    a, b, c = sphere.vertices[sphere.faces[:: max(1, len(sphere.faces) // 7)]].swapaxes(0, 1)
    normal = np.cross(b - a, c - a)
    middle, centre = (a + b) / 2, normal / np.linalg.norm(normal, axis=1, keepdims=True)
    directions = np.concatenate([middle, centre, 0.7 * middle + 0.3 * centre, a])
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def clouds(level: int, cutoff: float, rng: np.random.Generator, boundaries: np.ndarray) -> Environments:
    """Two environments in float64: random neighbours, tied ones, and some on the boundaries of shells."""
    parts = []
    for _ in range(2):
        tied = tied_directions(level)
        near = random_points(40, rng)
        near *= rng.uniform(0.4, cutoff, size=(40, 1)) / np.linalg.norm(near, axis=1, keepdims=True)
        on = tied[rng.integers(len(tied), size=12)] * rng.choice(boundaries, size=(12, 1))
        parts.append(np.concatenate([near, tied * rng.uniform(0.4, cutoff, size=(len(tied), 1)), on]))
    centre = torch.arange(2).repeat_interleave(len(parts[0]))
    return Environments(torch.from_numpy(np.concatenate(parts)), centre, torch.zeros_like(centre), 2)


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("level", "spheres", "channels", "cutoff"), [(0, 1, 4, 7.0), (1, 3, 2, 5.0), (2, 1, 32, 7.0), (3, 4, 8, 6.5)]
)
def test_equals_brute_force(shells, dtype, level, spheres, channels, cutoff, rng):
    boundaries = np.linspace(INNER_RADIUS[shells], cutoff, spheres * channels + 1)[1:]
    environments = clouds(level, cutoff, rng, boundaries).to(dtype=dtype)
    features = NearestVertexMapping(level, spheres, channels, cutoff, shells)(environments)
    expected = brute_force(environments, level, spheres, channels, cutoff, shells)
    assert features.shape == expected.shape == (spheres, 10 * 4**level + 2, 2, channels)
    assert features.dtype == dtype
    assert features.is_contiguous()
    torch.testing.assert_close(features, expected.to(dtype), **TOLERANCE[dtype])


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("level", "spheres", "channels"), [(0, 2, 2), (2, 1, 8), (3, 1, 32), (4, 4, 3)])
def test_rotations_permute_the_features(shells, dtype, level, spheres, channels, rng):
    mapping = NearestVertexMapping(level, spheres, channels, shells=shells)
    boundaries = np.linspace(INNER_RADIUS[shells], 7.0, spheres * channels + 1)[1:]
    environments = clouds(level, 7.0, rng, boundaries).to(dtype=dtype)
    features = mapping(environments)
    rotations, permutations = torch.tensor(icosahedral_rotations()), torch.tensor(vertex_permutations(level))
    for rotation, permutation in zip(rotations, permutations, strict=True):
        rotated = mapping(environments.rotated(rotation))
        torch.testing.assert_close(rotated[:, permutation], features, **TOLERANCE[dtype])


def test_crystals_are_full_of_ties_and_stay_exact():
    # an fcc crystal seen along the icosahedron's axes: neighbours on edges, vertices and shell boundaries
    cell = np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0.0]])
    mapping = NearestVertexMapping(3, 1, 24)
    features = mapping(find_environments(np.zeros((1, 3)), cell, True))
    for g, rotation in enumerate(icosahedral_rotations()):
        rotated = mapping(find_environments(np.zeros((1, 3)), cell @ rotation.T, True))
        torch.testing.assert_close(
            rotated[:, torch.tensor(vertex_permutations(3)[g])], features, **TOLERANCE[torch.float32]
        )


@pytest.mark.parametrize("level", range(7))
def test_every_vertex_is_nearest_to_its_own_star_alone(level):
    # Triangles of the convex hull whose circumcentres lie within: then a direction's nearest vertices are
    # among the corners of its triangle.
    sphere = icosphere(level)
    corners = sphere.vertices[sphere.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    coefficients = np.linalg.solve(corners.swapaxes(1, 2), normal[..., None])[..., 0]
    assert (coefficients.min(axis=1) > 0.5 * coefficients.max(axis=1)).all()
    # an edge is convex if the corners across it lie below the plane of either triangle; so the hull is
    height = (normal * corners[:, 0]).sum(axis=1)
    ring = sphere.neighbours[sphere.faces].reshape(len(sphere.faces), -1)
    around = np.einsum("fi,fki->fk", normal, sphere.vertices[np.where(ring < 0, sphere.faces[:, :1], ring)])
    assert (around <= height[:, None] + EXACT["atol"]).all()


def test_shells_of_the_published_code_and_of_the_paper():
    distances = torch.tensor([0.4, 1.0, 1.1875, 1.19, 1.375, 6.8, 6.9, 7.0], dtype=torch.float64)
    vectors = torch.zeros(8, 3, dtype=torch.float64)
    vectors[:, 2] = distances
    environments = Environments(vectors, torch.arange(8), torch.arange(8), 8)
    published = [0, 0, 0, 1, 1, 30, 31, 31]
    uniform = [1, 4, 5, 5, 6, 31, 31, 31]
    for shells, expected in (("published", published), ("uniform", uniform)):
        features = NearestVertexMapping(1, shells=shells)(environments)  # type: ignore[arg-type]
        assert features.shape == (1, 42, 8, 32)
        total = features.sum(dim=(0, 1))
        assert total.argmax(dim=1).tolist() == expected
        torch.testing.assert_close(total.sum(dim=1), 1 / distances, **EXACT)
    # four spheres of eight channels: the same shells, grouped
    grouped = NearestVertexMapping(1, 4, 8)(environments)
    single = NearestVertexMapping(1, 1, 32)(environments)
    assert torch.equal(grouped.permute(1, 2, 0, 3).reshape(42, 8, 32), single[0])


def test_features_add_up_in_any_order_and_do_not_mix_atoms(rng):
    mapping = NearestVertexMapping(2, 2, 4)
    environments = clouds(2, 7.0, rng, np.array([4.0]))
    order = torch.randperm(len(environments.vectors))
    shuffled = Environments(environments.vectors[order], environments.centre[order], environments.neighbour, 2)
    features = mapping(environments)
    torch.testing.assert_close(mapping(shuffled), features, **EXACT)
    for atom in range(2):
        assert torch.equal(mapping(environments.chunk(atom, atom + 1))[:, :, 0], features[:, :, atom])
    empty = Environments(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), 3)
    assert mapping(empty).shape == (2, 162, 3, 4)
    assert not mapping(empty).any()


def test_supercell_and_permutation_give_the_same_features(rng):
    cell = np.diag([3.0, 4.0, 20.0])
    positions = np.array([[0.1, 0.2, 0.0], [1.6, 2.0, 1.2]])
    mapping = NearestVertexMapping(3)
    once = mapping(find_environments(positions, cell, (True, True, False)))
    more = np.concatenate([positions, positions + cell[0], positions + cell[1], positions + cell[0] + cell[1]])
    many = mapping(find_environments(more, np.diag([6.0, 8.0, 20.0]), (True, True, False)))
    torch.testing.assert_close(many, once.repeat(1, 1, 4, 1), **ROUNDED)
    swapped = mapping(find_environments(positions[::-1], cell, (True, True, False)))
    torch.testing.assert_close(swapped.flip(2), once, **ROUNDED)


def test_gradient_is_that_of_one_over_the_distance(rng):
    mapping = NearestVertexMapping(1, 1, 4)
    vectors = torch.from_numpy(random_points(12, rng) * 4).requires_grad_()
    centre = torch.zeros(12, dtype=torch.long)
    mapping(Environments(vectors, centre, centre, 1)).sum().backward()
    exact = -vectors.detach() / vectors.detach().norm(dim=1, keepdim=True) ** 3
    torch.testing.assert_close(vectors.grad, exact, **EXACT)
    environments = Environments(vectors, centre, centre, 1)
    with torch.inference_mode():
        assert mapping(environments).shape == (1, 42, 1, 4)


def test_float32_agrees_with_float64_away_from_boundaries(rng):
    turned = random_rotations(1, rng)[0]
    positions = rng.random((40, 3)) * 12 @ turned.T
    mapping = NearestVertexMapping(3)
    double = find_environments(positions, dtype=torch.float64)
    torch.testing.assert_close(
        mapping(double.to(dtype=torch.float32)), mapping(double).float(), **TOLERANCE[torch.float32]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_give_float32(dtype, rng):
    mapping = NearestVertexMapping(2)
    environments = find_environments(rng.random((10, 3)) * 8).to(dtype=dtype)
    expected = mapping(environments.to(dtype=torch.float32))
    assert expected.dtype == torch.float32
    assert torch.equal(mapping(environments), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mapping(environments), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu(rng):
    mapping = NearestVertexMapping(3, 2, 16)
    environments = clouds(3, 7.0, rng, np.array([1.0, 4.0, 7.0]))
    expected = mapping(environments)
    features = mapping.cuda()(environments.to("cuda"))
    torch.testing.assert_close(features.cpu(), expected, **TOLERANCE[torch.float64])


def test_refuses_environments_it_cannot_map():
    mapping = NearestVertexMapping(0, cutoff=5.0)

    def one(*vector: float) -> Environments:
        centre = torch.zeros(1, dtype=torch.long)
        return Environments(torch.tensor([vector]), centre, centre, 1)

    with pytest.raises(ValueError, match="a neighbour lies at 5.1 Å, beyond the cutoff of 5 Å"):
        mapping(one(0.0, 0.0, 5.1))
    with pytest.raises(ValueError, match="a neighbour coincides with its centre"):
        mapping(one(0.0, 0.0, 0.0))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a vector of the environments is not finite"):
            mapping(one(value, 0.0, 1.0))
    with pytest.raises(TypeError, match=r"must be floating-point numbers, not torch\.int64"):
        mapping(one(0, 0, 1))


def test_refuses_sizes_that_make_no_sense():
    for sizes, message in (
        ({"level": -1}, "level must be an integer"),
        ({"num_spheres": 0}, "num_spheres must be an integer of at least 1, not 0"),
        ({"channels": 1.5}, r"channels must be an integer of at least 1, not 1\.5"),
        ({"cutoff": 1.0}, "cutoff must be a length above 1 Å, not 1.0"),
        ({"cutoff": float("nan")}, "cutoff must be a length above"),
        ({"shells": "log"}, "shells must be 'published' or 'uniform', not 'log'"),
    ):
        with pytest.raises(ValueError, match=message):
            NearestVertexMapping(**sizes)


def test_shows_its_arguments_and_keeps_its_tables():
    mapping = NearestVertexMapping()
    assert "level=3, num_spheres=1, channels=32, cutoff=7, shells='published'" in repr(mapping)
    assert (mapping.level, mapping.num_vertices) == (3, 642)
    assert not mapping.state_dict()
    assert not list(mapping.parameters())
    assert copy.deepcopy(mapping).half().get_buffer("sides").dtype == torch.float64
