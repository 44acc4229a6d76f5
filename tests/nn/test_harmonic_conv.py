"""Spherical harmonics against those of e3nn, and the convolution of SPHNet against loops over points."""

from math import pi

import numpy as np
import pytest
import torch
from torch import Tensor

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.nn.harmonic_conv import HarmonicConv, HarmonicForm
from csgnn_dgl.nn.harmonics import NUM_HARMONICS, SIZES, solid_harmonics
from csgnn_dgl.testing import rotate_points
from tests.forms import HAS_DGL
from tests.tolerances import EXACT, TOLERANCE, assert_same_up_to_scale, times

FORMS: tuple[HarmonicForm, ...] = ("auto", "fast", *(("reference",) if HAS_DGL else ()))


def harmonics(vectors: Tensor) -> Tensor:
    return torch.stack(solid_harmonics(*vectors.unbind(-1)), dim=-1)


def from_e3nn(vectors: Tensor) -> Tensor:
    """The harmonics of e3nn, whose polar axis is the second."""
    o3 = pytest.importorskip("e3nn.o3")
    turned = vectors[..., [1, 2, 0]]
    return torch.as_tensor(o3.spherical_harmonics([0, 1, 2, 3], turned, normalize=False, normalization="integral"))


def test_they_are_those_of_e3nn_and_solid() -> None:
    vectors = torch.randn(50, 3, dtype=torch.float64)
    torch.testing.assert_close(harmonics(vectors), from_e3nn(vectors), **times(EXACT, 100))


def test_they_are_orthonormal_on_the_sphere() -> None:
    # Gauss-Legendre in z and equal steps in azimuth are exact for products of degree 6.
    z, weights = np.polynomial.legendre.leggauss(8)
    azimuth = np.arange(16) * pi / 8
    x, y = (np.sqrt(1 - z**2)[:, None] * turn(azimuth) for turn in (np.cos, np.sin))
    nodes = torch.from_numpy(np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1)).flatten(0, 1)
    scale = torch.from_numpy(np.repeat(weights, 16) * pi / 8)
    values = harmonics(nodes)
    wanted = torch.eye(NUM_HARMONICS, dtype=torch.float64)
    torch.testing.assert_close(values.mT @ (scale[:, None] * values), wanted, **times(EXACT, 10))


def test_the_origin_has_no_direction() -> None:
    assert harmonics(torch.zeros(3))[1:].count_nonzero() == 0


def layer(form: HarmonicForm = "auto", dtype: torch.dtype = torch.float64, channels: int = 3) -> HarmonicConv:
    torch.manual_seed(1)
    result = HarmonicConv(channels, 6, radius=0.7, neighbours=9, form=form).to(dtype)
    torch.nn.init.normal_(result.linear.bias)
    return result


def in_loops(conv: HarmonicConv, points: Tensor, features: Tensor) -> Tensor:
    """The convolution of one cloud, point by point and term by term."""
    rows = []
    for centre in points:
        around = sorted(range(len(points)), key=lambda place: float((points[place] - centre).norm()))[: conv.neighbours]
        distances = [max(float((points[place] - centre).norm()), 0.01) for place in around]
        directions = [(points[place] - centre) / d for place, d in zip(around, distances, strict=True)]
        values = [from_e3nn(direction) for direction in directions]
        total = sum(np.exp(-(d**2) / (2 * conv.radius**2)) / np.sqrt(4 * pi) for d in distances) + 1e-6
        invariants = []
        for radius in (0.0, conv.radius):
            for degree, first in zip(range(4), np.cumsum([0, *SIZES]), strict=False):
                for channel in range(features.shape[1]):
                    z = torch.zeros(2 * degree + 1, dtype=torch.float64)
                    for place, d, value in zip(around, distances, values, strict=True):
                        weight = np.exp(-((d - radius) ** 2) / (2 * conv.radius**2)) / total
                        z += weight * value[first : first + 2 * degree + 1] * features[place, channel]
                    invariants.append(np.sqrt(max(float(z @ z), 1e-4)))
        rows.append(torch.tensor(invariants) @ conv.linear.weight.T + conv.linear.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [14, 9, 5])  # the last two have no more points than neighbours
def test_it_is_the_sum_over_the_nearest_points(form: HarmonicForm, count: int) -> None:
    points, features = torch.randn(2, count, 3, dtype=torch.float64), torch.randn(2, count, 2, dtype=torch.float64)
    points[0, 1] = points[0, 0] + 0.001  # nearer than the least distance
    with torch.no_grad():
        for conv, given in ((layer(form, channels=2), features), (layer(form, channels=1), None)):
            found = conv(points, given)
            signal = torch.ones(2, count, 1, dtype=torch.float64) if given is None else given
            for cloud in range(2):
                wanted = in_loops(conv, points[cloud], signal[cloud])
                torch.testing.assert_close(found[cloud], wanted, **TOLERANCE[torch.float64])


@pytest.mark.skipif(not HAS_DGL, reason="no dgl here")
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("count", [20, 8])
def test_both_forms_agree_in_outputs_and_gradients(constant: bool, count: int, dtype: torch.dtype) -> None:
    outcomes = []
    for form in FORMS:
        torch.manual_seed(2)
        points = torch.randn(2, count, 3, dtype=dtype, requires_grad=True)
        features = torch.randn(2, count, 3, dtype=dtype, requires_grad=True)
        conv = layer(form, dtype, channels=1 if constant else 3)
        result = conv(points, None if constant else features)
        result.square().sum().backward()
        given = [points.grad] if constant else [points.grad, features.grad]
        outcomes.append([result.detach(), *given, *(parameter.grad for parameter in conv.parameters())])
    for outcome in outcomes[1:]:
        for found, wanted in zip(outcome, outcomes[0], strict=True):
            assert_same_up_to_scale(found, wanted)


def test_rotations_and_reflections_change_nothing(dtype: torch.dtype) -> None:
    conv, points, features = layer(dtype=dtype), torch.randn(3, 30, 3, dtype=dtype), torch.randn(3, 30, 3, dtype=dtype)
    points[:, 1] = points[:, 0] + 1e-3
    with torch.no_grad():
        wanted = conv(points, features)
        for rotation in random_rotations(10, np.random.default_rng(0)):
            for turned in (rotate_points(points, rotation), -rotate_points(points, rotation)):
                torch.testing.assert_close(conv(turned, features), wanted, **TOLERANCE[dtype])


def test_equal_points_have_finite_gradients() -> None:
    points = torch.zeros(1, 12, 3, dtype=torch.float64, requires_grad=True)
    layer()(points, torch.randn(1, 12, 3, dtype=torch.float64)).sum().backward()
    assert points.grad is not None and points.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius": 0.0}, "radius must be above 0 and finite, not 0.0"),
        ({"neighbours": 0}, "neighbours must be an integer of at least 1"),
        ({"form": "compiled"}, "form must be one of auto, fast, reference, not 'compiled'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HarmonicConv(**{"in_channels": 1, "out_channels": 2, "radius": 0.1, **changes})
