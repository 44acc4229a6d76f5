"""Both mappings against the definition, and the properties that follow from it."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csgnn_dgl.geometry import icosahedral_rotations, icosphere, vertex_permutations
from csgnn_dgl.mapping import MAPPINGS, PrismMapping, ShellMapping
from csgnn_dgl.mapping.location import ROUNDING
from tests.mapping.brute_force import brute_force, diameter, random_points, tie_points
from tests.tolerances import EXACT, NUMERIC, ROUNDED, TOLERANCE, approx, relative

DTYPES = [torch.float32, torch.float64]
both = pytest.mark.parametrize("kind", sorted(MAPPINGS))


def clouds(level: int, fine_spheres: int, rng: np.random.Generator, batch: int = 2, count: int = 25) -> torch.Tensor:
    """Clouds (B, N, 3) in float64 of random points and of points on boundaries of cells."""
    parts = [np.concatenate([random_points(count, rng), tie_points(level, fine_spheres, rng)]) for _ in range(batch)]
    return torch.from_numpy(np.stack(parts))


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("level", "num_spheres", "channels", "threshold"),
    [
        (0, 1, 1, 0.01),
        (0, 3, 2, 0.3),
        (1, 4, 1, 0.01),
        (1, 1, 5, 0.1),
        (2, 3, 3, 0.01),
        (3, 2, 4, 0.5),
        (3, 5, 2, 1.0),
    ],
)
def test_equals_brute_force(kind, dtype, level, num_spheres, channels, threshold, rng):
    points = clouds(level, num_spheres * channels, rng).to(dtype)
    features = MAPPINGS[kind](level, num_spheres, channels, threshold)(points)
    expected = brute_force(kind, points.double().numpy(), level, num_spheres, channels, threshold, ROUNDING[dtype])
    assert features.shape == expected.shape == (num_spheres, 10 * 4**level + 2, 2, channels)
    assert features.dtype == dtype
    assert features.is_contiguous()
    torch.testing.assert_close(features, torch.from_numpy(expected).to(dtype), **TOLERANCE[dtype])


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("level", "num_spheres", "channels"), [(0, 2, 2), (2, 4, 3), (4, 5, 2)])
def test_rotations_permute_the_features(kind, dtype, level, num_spheres, channels, rng):
    points = clouds(level, num_spheres * channels, rng, batch=1, count=200).to(dtype)
    rotations = torch.tensor(icosahedral_rotations(), dtype=dtype)
    rotated = points @ rotations.mT
    features = MAPPINGS[kind](level, num_spheres, channels)(rotated)
    for g, permutation in enumerate(torch.tensor(vertex_permutations(level))):
        torch.testing.assert_close(features[:, permutation, g], features[:, :, 0], **TOLERANCE[dtype])


@both
def test_float32_agrees_with_float64(kind, rng):
    mapping = MAPPINGS[kind](4, 20, 8)
    points = torch.from_numpy(random_points(3000, rng))
    norms = points.norm(dim=1)
    # Points within the float32 tolerance of a boundary have other cells in float32 than in float64.
    far = (norms * 160 + 5e-4) % 1 > 1e-3
    far[mapping.locator(points.float().t(), norms.float()).tied] = False
    assert far.float().mean() > 0.99
    points = points[None, far]
    single, double = mapping(points.float()), mapping(points.float().double())
    torch.testing.assert_close(single, double.float(), **TOLERANCE[torch.float32])


@pytest.mark.parametrize("level", [0, 1, 3])
def test_prism_bandwidths(level):
    mapping = PrismMapping(level, 2, 3, threshold=0.2)
    expected = [-math.log(0.2) / diameter(level, i / 6, (i + 1) / 6, slice(None)) ** 2 for i in range(6)]
    torch.testing.assert_close(mapping.cell_gamma, torch.tensor(expected, dtype=torch.float64), **relative(EXACT))
    assert mapping.cell_spheres.tolist() == [[-1, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("level", [0, 1, 3])
def test_shell_bandwidths(level):
    mapping = ShellMapping(level, 3, 2, threshold=0.2)
    expected = [-math.log(0.2) / diameter(level, i / 3, (i + 1) / 3, slice(1)) ** 2 for i in range(3)]
    torch.testing.assert_close(mapping.cell_gamma, torch.tensor(expected, dtype=torch.float64), **relative(EXACT))
    assert mapping.cell_spheres.tolist() == [[0, 2, 4], [1, 3, 5]]


@both
def test_a_point_at_the_centre_reaches_every_vertex_of_the_first_sphere(kind):
    mapping = MAPPINGS[kind](1, 3, 2, threshold=0.05)
    features = mapping(torch.zeros(1, 1, 3, dtype=torch.float64))
    faces_per_vertex = torch.tensor([5.0] * 12 + [6.0] * 30, dtype=torch.float64)
    inner = diameter(1, 0, 1 / 6, slice(None)) if kind == "prism" else diameter(1, 0, 1 / 3, slice(1))
    expected = torch.zeros(3, 42, 1, 2, dtype=torch.float64)
    for channel in range(1 if kind == "prism" else 2):
        kernel = 0.05 ** (((channel + 1) / 6 / inner) ** 2)
        expected[0, :, 0, channel] = faces_per_vertex / 80 * kernel
    torch.testing.assert_close(features, expected, **relative(EXACT))


@both
def test_a_point_on_a_sphere_belongs_to_the_cell_outside(kind):
    mapping = MAPPINGS[kind](2, 4, 2)
    centre = torch.from_numpy(icosphere(2).vertices[icosphere(2).faces[11]].mean(axis=0))
    for dtype in DTYPES:
        for index in (2, 4, 8):
            radii = index / 8 + torch.tensor([0, -0.5, 0.5], dtype=torch.float64) * ROUNDING[dtype]
            points = (centre / centre.norm() * radii[:, None])[:, None].to(dtype)
            touched = mapping(points).sum(dim=1) > 0
            spheres = {"prism": [index - 1, min(index, 7)], "shell": [index, index + 1]}[kind]
            if index == 8:
                spheres = [6, 7]
            expected = torch.zeros(8, dtype=torch.bool)
            expected[spheres] = True
            for sample in range(3):
                assert torch.equal(touched[:, sample].reshape(-1), expected)


def interior_points(level: int, cells: int, rng: np.random.Generator) -> torch.Tensor:
    """Points well inside their cells, one of them in the innermost."""
    sphere = icosphere(level)
    faces = sphere.faces[rng.integers(len(sphere.faces), size=8)]
    weights = rng.uniform(0.2, 0.5, size=(8, 3, 1))
    directions = (sphere.vertices[faces] * weights).sum(axis=1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cell = np.arange(8)[:, None] % cells
    return torch.from_numpy(directions * (cell + rng.uniform(0.2, 0.8, size=(8, 1))) / cells).reshape(2, 4, 3)


@both
def test_gradient(kind, rng):
    mapping = MAPPINGS[kind](1, 2, 2)
    points = interior_points(1, mapping.num_cells, rng).requires_grad_()
    assert torch.autograd.gradcheck(mapping, (points,), eps=1e-7, **NUMERIC)


@both
def test_gradient_at_the_centre_and_on_boundaries(kind, rng):
    mapping = MAPPINGS[kind](1, 2, 2)
    points = clouds(1, 4, rng).requires_grad_()
    cotangent = torch.from_numpy(rng.normal(size=(2, 42, 2, 2)))
    (gradient,) = torch.autograd.grad((mapping(points) * cotangent).sum(), points)
    assert gradient.isfinite().all()

    # The last two points of each cloud are at the centre, where the gradient is known.
    sphere = icosphere(1)
    weights = np.where(np.arange(42) < 12, 5, 6) / 80
    gamma = float(mapping.cell_gamma[0])
    for sample in range(2):
        expected = np.zeros(3)
        for channel in range(1 if kind == "prism" else 2):
            radius = (channel + 1) / 4
            slope = weights * np.exp(-gamma * radius**2) * 2 * gamma * radius
            expected += (slope * cotangent[0, :, sample, channel].numpy()) @ sphere.vertices
        torch.testing.assert_close(gradient[sample, -2:], torch.from_numpy(expected).expand(2, 3), **EXACT)


@both
@pytest.mark.parametrize("distance", [0.3, 0.9])
def test_points_close_to_the_centre_follow_the_kernel(kind, distance):
    mapping = MAPPINGS[kind](0, 2, 4)
    offset = torch.tensor([0.6, 0.48, 0.64], dtype=torch.float64) * distance * ROUNDING[torch.float32]
    features = mapping(offset.float()[None, None])
    vertices = torch.tensor(icosphere(0).vertices)
    for channel in range(1 if kind == "prism" else 4):
        squares = (vertices * (channel + 1) / 8 - offset).square().sum(dim=1)
        expected = 0.25 * torch.exp(-mapping.cell_gamma[0] * squares)
        torch.testing.assert_close(features[0, :, 0, channel].double(), expected, **relative(ROUNDED))


@both
def test_samples_do_not_mix(kind, rng):
    mapping = MAPPINGS[kind](2, 3, 2)
    points = clouds(2, 6, rng, batch=5).float()
    together = mapping(points)
    for sample in range(5):
        alone = mapping(points[sample : sample + 1])
        torch.testing.assert_close(together[:, :, sample : sample + 1], alone, **TOLERANCE[torch.float32])


@both
def test_runs_repeat_bit_by_bit(kind, rng):
    mapping = MAPPINGS[kind](3, 4, 4)
    points = clouds(3, 16, rng, batch=3, count=300).float()
    first = mapping(points)
    assert torch.equal(first, mapping(points))
    assert torch.equal(first, copy.deepcopy(mapping)(points))
    assert torch.equal(first, pickle.loads(pickle.dumps(mapping))(points))
    assert torch.equal(first, copy.deepcopy(mapping).half()(points))
    assert torch.equal(first, mapping(points.transpose(1, 2).contiguous().transpose(1, 2)))
    with torch.inference_mode():
        assert torch.equal(first, mapping(points))


@st.composite
def point_sets(draw):
    """Clouds of one to twelve points, many of them on boundaries of cells of level 1 with R' = 6."""
    special = st.sampled_from(np.concatenate([icosphere(2).vertices, np.zeros((1, 3))]).tolist())
    number = st.floats(-1, 1, allow_subnormal=False)
    direction = st.one_of(special, st.tuples(number, number, number))
    radius = st.one_of(st.floats(0, 1, allow_subnormal=False), st.integers(0, 6).map(lambda i: i / 6))
    points = []
    for vector, length in draw(st.lists(st.tuples(direction, radius), min_size=1, max_size=12)):
        norm = np.linalg.norm(vector)
        points.append(np.array(vector) / norm * length if norm > 1e-9 else np.zeros(3))
    return torch.from_numpy(np.array(points)[None])


@both
@settings(deadline=None, max_examples=40)
@given(points=point_sets(), dtype=st.sampled_from(DTYPES))
def test_with_threshold_one_every_point_counts_once_per_vertex(kind, points, dtype):
    features = MAPPINGS[kind](1, 3, 2, threshold=1.0)(points.to(dtype)).double()
    radii = points.to(dtype).double().norm(dim=2)
    spheres = torch.where(radii < 1 / 6 - ROUNDING[dtype], 1, 2) if kind == "prism" else torch.full_like(radii, 2)
    assert features.min() >= 0
    assert features.sum().item() == approx(3 * spheres.sum().item(), **ROUNDED)


@both
@settings(deadline=None, max_examples=20)
@given(points=point_sets(), more=point_sets(), seed=st.integers(0, 99))
def test_features_add_up_in_any_order(kind, points, more, seed):
    mapping = MAPPINGS[kind](1, 3, 2)
    union = torch.cat([points, more, points], dim=1)
    order = torch.randperm(union.shape[1], generator=torch.Generator().manual_seed(seed))
    expected = 2 * mapping(points) + mapping(more)
    torch.testing.assert_close(mapping(union[:, order]), expected, **TOLERANCE[torch.float64])


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_to_float32(kind, dtype, rng):
    mapping = MAPPINGS[kind](2, 3, 2)
    points = torch.from_numpy(random_points(50, rng)[None])
    points = (points / points.norm(dim=2).max()).to(dtype)
    expected = mapping(points.float())
    assert expected.dtype == torch.float32
    assert torch.equal(mapping(points), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mapping(points), expected)
        assert torch.equal(mapping(points.float()), expected)


@both
def test_refuses_points_it_cannot_map(kind):
    mapping = MAPPINGS[kind](0, 2, 1)
    for shape in ((4, 3), (2, 0, 3), (0, 4, 3), (2, 4, 2)):
        with pytest.raises(ValueError, match=r"shape \(clouds, points, 3\) with at least one of each, not \("):
            mapping(torch.zeros(shape))
    with pytest.raises(TypeError, match=r"tensor of floating-point numbers, not torch\.int64"):
        mapping(torch.zeros(2, 4, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="floating-point numbers, not ndarray"):
        mapping(np.zeros((2, 4, 3)))
    for value in (float("nan"), float("inf")):
        points = torch.zeros(3, 4, 3)
        points[1, 2, 0] = value
        with pytest.raises(ValueError, match="cloud 1 of the batch has coordinates that are not finite"):
            mapping(points)
    points = torch.zeros(3, 4, 3)
    points[2, 1] = torch.tensor([1.0, 2.0, 2.0])
    with pytest.raises(ValueError, match=r"cloud 2 of the batch reaches the norm 3; divide each cloud by its largest"):
        mapping(points)
    with pytest.raises(ValueError, match=r"cloud 2 of the batch reaches the norm 3e\+30"):
        mapping(points * 1e30)


@both
def test_a_norm_of_one_up_to_rounding_is_accepted(kind):
    mapping = MAPPINGS[kind](0, 2, 1)
    point = torch.tensor([[[0.6, 0.48, 0.64]]])
    torch.testing.assert_close(mapping(point * (1 + 1e-6)), mapping(point), **TOLERANCE[torch.float32])
    with pytest.raises(ValueError, match=r"norm 1\.001"):
        mapping(point * 1.001)


@both
def test_refuses_sizes_that_make_no_sense(kind):
    for sizes, message in (
        ((-1, 2, 1), "level must be an integer"),
        ((1, 0, 1), "num_spheres must be an integer of at least 1, not 0"),
        ((1, 2, 1.5), r"channels must be an integer of at least 1, not 1\.5"),
        ((1, 2, 1, 0), r"threshold must lie in \(0, 1\], not 0"),
        ((1, 2, 1, 1.5), r"threshold must lie in \(0, 1\], not 1\.5"),
    ):
        with pytest.raises(ValueError, match=message):
            MAPPINGS[kind](*sizes)


@both
def test_shows_its_arguments(kind):
    mapping = MAPPINGS[kind](2, 3, 4, threshold=0.1)
    assert "level=2, num_spheres=3, channels=4, threshold=0.1" in repr(mapping)
    assert (mapping.level, mapping.num_vertices) == (2, 162)
    assert not mapping.state_dict()
    assert not list(mapping.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_mappings_do_the_same(rng):
    mapping, points = PrismMapping(1, 3, 2), clouds(1, 6, rng, count=5)
    assert (points.norm(dim=2) == 0).any()
    example, expected = torch.rand_like(points) / 2, mapping(points)
    exported = torch.export.export(mapping, (example,), dynamic_shapes=({0: torch.export.Dim("B")},)).module()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(mapping, backend="eager", fullgraph=True)
        for recorded in (exported, compiled):
            assert torch.equal(recorded(points), expected)
            with pytest.raises(RuntimeError, match="points must be finite and lie in the unit ball"):
                recorded(3 * points)
    traced = torch.jit.trace(mapping, example, check_trace=False)
    assert torch.equal(traced(points), expected)
    assert traced(3 * points).isnan().all()  # it has no checks
