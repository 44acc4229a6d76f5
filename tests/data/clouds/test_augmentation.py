from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from csgnn_dgl.data import Augmentation, Draws, TestRotation, rotate_clouds
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import random_rotations
from tests.tolerances import P_VALUE, ROUNDED, TOLERANCE, approx, drawn

SHAPES = 4000
MODES = ["none", "z", "SO3"]


@pytest.fixture(scope="module")
def draws() -> Draws:
    """Many samples, more than any batch, over several epochs."""
    epochs = np.arange(SHAPES) % 7
    return Augmentation().draw(seed=5, epoch=epochs, indices=np.arange(SHAPES), num_points=16)


def rows(draws: Draws, chosen: Any) -> list[torch.Tensor]:
    return [draws.scale[chosen], draws.rotation[chosen], draws.translation[chosen], draws.jitter[chosen]]


def uniform_p_value(values: torch.Tensor, low: float, high: float) -> float:
    return float(stats.kstest(values.double().numpy().ravel(), stats.uniform(low, high - low).cdf).pvalue)


def test_scale_and_translation_are_uniform_in_their_ranges(draws: Draws) -> None:
    assert draws.scale.min() >= np.float32(0.8)
    assert draws.scale.max() <= np.float32(1.2)
    assert uniform_p_value(draws.scale, 0.8, 1.2) > P_VALUE
    assert draws.translation.abs().max() <= np.float32(0.1)
    assert uniform_p_value(draws.translation, -0.1, 0.1) > P_VALUE
    together = torch.cat([draws.scale, draws.translation], dim=1).numpy()
    np.testing.assert_allclose(np.corrcoef(together.T), np.eye(6), **drawn(1, SHAPES))


def test_jitter_is_normal_and_clipped(draws: Draws) -> None:
    jitter = draws.jitter.double().numpy().ravel()
    assert np.abs(jitter).max() <= np.float32(0.05)
    assert jitter.std() == approx(0.01, **drawn(0.01 / 2**0.5, jitter.size))
    assert jitter.mean() == approx(0.0, **drawn(0.01, jitter.size))
    assert stats.kstest(jitter, stats.norm(0, 0.01).cdf).pvalue > P_VALUE
    wild = Augmentation(jitter_std=1.0, jitter_clip=0.5).draw(0, 0, range(8), 500).jitter
    assert wild.abs().max() == 0.5
    share = 2 * stats.norm.sf(0.5)
    clipped = (wild.abs() == 0.5).double()
    assert clipped.mean() == approx(share, **drawn((share * (1 - share)) ** 0.5, clipped.numel()))


def turns(mode: str, seed: int, vote: int, indices: Any) -> torch.Tensor:
    return TestRotation(mode).draw(seed, vote, indices, 1).rotation


def check_haar(rotations: np.ndarray) -> None:
    """Check rotation matrices against moments and the angle's distribution under the Haar measure."""
    count = len(rotations)
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (count, 1, 1)), **ROUNDED)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, **ROUNDED)
    trace = np.trace(rotations, axis1=1, axis2=2)
    # traces of powers of the defining representation: mean 0, mean square 1, mean cube 1, mean fourth power 3
    for power, moment, deviation in ((1, 0, 1), (2, 1, 3**0.5), (3, 1, 15**0.5), (4, 3, 91**0.5)):
        assert (trace**power).mean() == approx(moment, **drawn(deviation, count))
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > P_VALUE
    np.testing.assert_allclose(rotations.mean(axis=0), 0, **drawn(3**-0.5, count))
    for column in range(3):
        assert stats.kstest(rotations[:, 2, column], stats.uniform(-1, 2).cdf).pvalue > P_VALUE


def check_vertical(rotations: np.ndarray) -> None:
    """Check that rotation matrices are uniform about the z axis."""
    np.testing.assert_array_equal(rotations[:, 2], np.tile([0, 0, 1], (len(rotations), 1)))
    np.testing.assert_array_equal(rotations[:, :, 2], np.tile([0, 0, 1], (len(rotations), 1)))
    angle = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert stats.kstest(angle, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > P_VALUE


def test_training_rotations_are_uniform(draws: Draws) -> None:
    check_haar(draws.rotation.double().numpy())
    vertical = Augmentation(rotation="z").draw(5, 0, range(SHAPES), 1).rotation
    check_vertical(vertical.double().numpy())
    still = Augmentation(rotation="none").draw(5, 0, range(10), 1).rotation
    assert torch.equal(still, torch.eye(3).expand(10, 3, 3))


def test_test_rotations_are_uniform() -> None:
    check_haar(turns("SO3", 1, 0, range(SHAPES)).double().numpy())
    check_haar(torch.cat([turns("SO3", 1, v, [3]) for v in range(SHAPES)]).double().numpy())
    check_vertical(turns("z", 1, 2, range(SHAPES)).double().numpy())
    assert torch.equal(turns("none", 0, 0, [4, 5]), torch.eye(3).expand(2, 3, 3))


def test_the_streams_are_those_documented() -> None:
    rng = np.random.default_rng([11, 3, 8])
    draws = Augmentation(rotation="z").draw(11, 3, [8], 32)
    np.testing.assert_array_equal(draws.scale[0], rng.uniform(0.8, 1.2, 3).astype(np.float32))
    np.testing.assert_array_equal(draws.translation[0], rng.uniform(-0.1, 0.1, 3).astype(np.float32))
    jitter = rng.standard_normal((32, 3), dtype=np.float32) * 0.01
    np.testing.assert_array_equal(draws.jitter[0], jitter.clip(-0.05, 0.05))
    np.testing.assert_array_equal(draws.rotation[0], random_rotations(1, rng, "z")[0].astype(np.float32))


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 10**6),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=6),
    st.sampled_from(MODES),
)
def test_a_sample_is_a_function_of_seed_epoch_and_index(seed: int, epoch: int, indices: list[int], mode: str) -> None:
    augmentation = Augmentation(rotation=mode)
    points = torch.rand(len(indices), 40, 3, generator=torch.Generator().manual_seed(seed)) - 0.5
    whole = augmentation.draw(seed, epoch, indices, 40).apply(points)
    for row, index in enumerate(indices):
        alone = augmentation.draw(seed, epoch, [index], 40).apply(points[row : row + 1])
        assert torch.equal(whole[row], alone[0])
    turned = turns(mode, seed, epoch, indices)
    for row, index in enumerate(indices):
        assert torch.equal(turned[row], turns(mode, seed, epoch, [index])[0])


def test_seeds_epochs_and_indices_all_matter() -> None:
    augmentation = Augmentation()
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]
    found = [rows(augmentation.draw(seed, epoch, [index], 4), 0) for seed, epoch, index in keys]
    for part in range(4):
        assert len(torch.unique(torch.stack([draw[part].flatten() for draw in found]), dim=0)) == len(keys)
    again = rows(augmentation.draw(0, 0, [0], 4), 0)
    assert all(torch.equal(a, b) for a, b in zip(found[0], again, strict=True))


def test_test_rotations_have_a_stream_of_their_own() -> None:
    bare = Augmentation(scale=(1.0, 1.0), translation=0.0, jitter_std=0.0)
    training = bare.draw(0, 0, range(200), 1).rotation
    testing = turns("SO3", 0, 0, range(200))
    nearest = (training[:, None] - testing[None]).abs().amax(dim=(-2, -1)).min()
    assert nearest > 1e-3
    raw = torch.from_numpy(np.stack([random_rotations(1, np.random.default_rng([0, 0, i]))[0] for i in range(200)]))
    assert (raw - testing).abs().amax(dim=(-2, -1)).min() > 1e-3
    assert not torch.equal(testing, turns("SO3", 0, 1, range(200)))
    assert not torch.equal(testing, turns("SO3", 1, 0, range(200)))


def test_other_draws_do_not_depend_on_the_rotation_mode() -> None:
    parts = [Augmentation(rotation=mode).draw(0, 1, [2, 3], 8) for mode in MODES]
    for other in parts[1:]:
        assert torch.equal(parts[0].scale, other.scale)
        assert torch.equal(parts[0].translation, other.translation)
        assert torch.equal(parts[0].jitter, other.jitter)


def test_order_scale_rotate_translate_jitter(dtype: torch.dtype) -> None:
    augmentation = Augmentation(translation=0.3, jitter_std=0.2, jitter_clip=0.25)
    draws = augmentation.draw(0, 0, range(5), 60)
    points = torch.randn(5, 60, 3, dtype=dtype)
    before = points.clone()
    found = draws.apply(points)
    assert found.dtype == dtype
    assert torch.equal(points, before)
    for b in range(5):
        scale, rotation, shift, jitter = (part.double().numpy() for part in rows(draws, b))
        expected = np.stack([rotation @ (scale * x) + shift for x in points[b].double().numpy()]) + jitter
        torch.testing.assert_close(found[b], torch.from_numpy(expected).to(dtype), **TOLERANCE[dtype])


def test_rotate_clouds_is_a_matrix_product(dtype: torch.dtype) -> None:
    points, rotations = torch.randn(4, 30, 3, dtype=dtype), torch.randn(4, 3, 3, dtype=torch.float64)
    expected = torch.einsum("bij,bnj->bni", rotations.to(dtype), points)
    torch.testing.assert_close(rotate_clouds(points, rotations), expected, **TOLERANCE[dtype])


def test_test_rotations_do_nothing_but_rotate(dtype: torch.dtype) -> None:
    draws = TestRotation("SO3").draw(3, 1, [4, 9], 20)
    points = torch.randn(2, 20, 3, dtype=dtype)
    assert torch.equal(draws.apply(points), rotate_clouds(points, draws.rotation))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"scale": (1.2, 0.8)}, r"augmentation scale is \(1.2, 0.8\); give two positive factors"),
        ({"scale": (0.0, 1.0)}, "augmentation scale is"),
        ({"scale": (1.0,)}, "augmentation scale is"),
        ({"scale": (0.5, float("inf"))}, "augmentation scale is"),
        ({"translation": -0.1}, "augmentation translation is -0.1; give a finite number"),
        ({"jitter_std": float("nan")}, "augmentation jitter_std is nan"),
        ({"jitter_clip": float("inf")}, "augmentation jitter_clip is inf"),
        ({"rotation": "so3"}, "rotation mode is 'so3'; give one of none, z, SO3"),
    ],
)
def test_bad_augmentations(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Augmentation(**arguments)


def test_bad_draws() -> None:
    with pytest.raises(InputError, match="seed is -1; give a whole number from 0 to 4294967295"):
        Augmentation().draw(-1, 0, [0], 4)
    with pytest.raises(InputError, match="seed is 4294967296"):
        TestRotation("z").draw(2**32, 0, [0], 1)
    with pytest.raises(InputError, match="rotation mode is 'x'"):
        TestRotation("x")
    with pytest.raises(ValueError, match=r"points have shape \(2, 5, 3\) but the draws are for \(2, 4, 3\)"):
        Augmentation().draw(0, 0, [0, 1], 4).apply(torch.zeros(2, 5, 3))
