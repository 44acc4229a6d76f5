"""Convolutions on rotations against their definition, tap by tap, with functions made of e3nn's spherical harmonics."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.geometry.wigner import latitudes, wigner_d
from csgnn_dgl.nn.so3 import EquatorialConvolution, S2Convolution, SO3Convolution, SO3Fourier
from tests.tolerances import TOLERANCE

B = 5
CLOSE = TOLERANCE[torch.float64]

OnRotations = Callable[[np.ndarray], Tensor]


def about_z(angles: np.ndarray) -> np.ndarray:
    cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1]]
    return np.moveaxis(np.array(rows), -1, 0)


def about_y(angles: np.ndarray) -> np.ndarray:
    order = [1, 2, 0]  # z takes the place of y
    return about_z(angles)[:, order][:, :, order][:, order][:, :, order]


def grid(bandwidth: int = B) -> np.ndarray:
    """The rotations (β, α, γ, 3, 3) of the grid."""
    turns = about_z(np.pi / bandwidth * np.arange(2 * bandwidth))
    return np.einsum("aij,bjk,ckl->bacil", turns, about_y(latitudes(bandwidth)[0]), turns)


def band_limited(channels: int, directions: np.ndarray) -> OnRotations:
    """A random function of degrees below b: a sum of functions on the sphere at some directions that are turned."""
    o3 = pytest.importorskip("e3nn.o3")
    weights = torch.randn(len(directions), channels, B**2, dtype=torch.float64)

    def values(rotations: np.ndarray) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for direction, weight in zip(directions, weights, strict=True):
            turned = torch.from_numpy(rotations @ direction)
            harmonics = o3.spherical_harmonics([*range(B)], turned, normalize=True, normalization="component")
            total = total + harmonics @ weight.t()
        return total

    return values


def by_definition(layer: EquatorialConvolution, function: OnRotations, rotations: np.ndarray) -> Tensor:
    taps, channels, _ = layer.weight.shape
    ring = about_z(2 * np.pi * np.arange(taps) / taps) @ about_y(np.array([np.pi / 2]))
    total = layer.bias.detach()
    for tap, weight in zip(ring, layer.weight.detach(), strict=True):
        total = total + function(rotations @ tap) @ weight / (taps * channels) ** 0.5
    return total


def layer_and_signal(kind: type, num_taps: int) -> tuple[EquatorialConvolution, OnRotations, Callable]:
    """A layer, a function, and how a function becomes its input with one sample."""
    layer = kind(2, 3, num_taps, SO3Fourier(B)).double()
    torch.nn.init.normal_(layer.bias)
    if kind is S2Convolution:
        return layer, band_limited(2, np.eye(3)[2:]), lambda function: function(grid())[:, :, 0, None]
    directions = random_rotations(3, np.random.default_rng(0))[:, 0]
    return layer, band_limited(2, directions), lambda function: function(grid())[..., None, :]


both = pytest.mark.parametrize("kind", [S2Convolution, SO3Convolution])


@both
@pytest.mark.parametrize("num_taps", [1, 7, 10, 16])
def test_convolutions_are_sums_over_their_taps(kind: type, num_taps: int) -> None:
    layer, function, sampled = layer_and_signal(kind, num_taps)
    found = layer(sampled(function))
    assert found.shape == (2 * B, 2 * B, 2 * B, 1, 3)
    torch.testing.assert_close(found[..., 0, :].detach(), by_definition(layer, function, grid()), **CLOSE)


@both
def test_they_turn_with_the_input(kind: type) -> None:
    layer, function, sampled = layer_and_signal(kind, 2 * B)
    for rotation in random_rotations(3, np.random.default_rng(1)):
        turned = layer(sampled(lambda rotations, g=rotation: function(g.T @ rotations)))
        # the output of the function as it was, at the rotations that are turned into those of the grid
        wanted = by_definition(layer, function, rotation.T @ grid())
        torch.testing.assert_close(turned[..., 0, :].detach(), wanted, **CLOSE)


def test_band_limited_functions_survive_the_round_trip(dtype: torch.dtype) -> None:
    fourier = SO3Fourier(B)
    directions = random_rotations(3, np.random.default_rng(0))[:, 0]
    signal = band_limited(4, directions)(grid()).unflatten(-1, (2, 2)).to(dtype)
    coefficients = fourier.analyse(signal)
    assert coefficients.dtype == dtype
    again = fourier.synthesise(coefficients.permute(1, 3, 0, 2, 4, 5))
    torch.testing.assert_close(again, signal, **TOLERANCE[dtype])
    beyond = np.maximum.outer(np.arange(B), np.abs(np.arange(1 - B, B)))[..., None] > np.arange(B)
    assert not coefficients[torch.from_numpy(beyond)].any()


def test_coefficients_are_integrals_over_fast_fourier_transforms() -> None:
    signal = torch.randn(2 * B, 2 * B, 2 * B, 1, 2, dtype=torch.float64)
    angles, weights = latitudes(B)
    waves = torch.fft.fft2(signal, dim=(1, 2), norm="forward").numpy()
    order = np.arange(1 - B, B)
    waves = waves[:, order[B - 1 :, None], order]  # (β, m, n)
    wanted = np.einsum("j,lmnj,jmnbc->mnlbc", weights, wigner_d(B, angles)[:, B - 1 :], waves)
    found = SO3Fourier(B).analyse(signal).numpy()
    np.testing.assert_allclose(found[:, :, :, 0], wanted.real, **CLOSE)
    np.testing.assert_allclose(found[:, :, :, 1], wanted.imag, **CLOSE)


def test_a_kernel_constant_in_the_third_angle_sees_the_mean_over_it() -> None:
    # The first layer of the published classifier: the radius stands in the place of γ, the taps are shared over it.
    layer, function, sampled = layer_and_signal(SO3Convolution, 2 * B)
    sphere = S2Convolution(2, 3, 2 * B, layer.fourier).double()
    sphere.load_state_dict(layer.state_dict())
    ring = about_z(np.pi / B * np.arange(2 * B))

    def spread(rotations: np.ndarray) -> Tensor:
        return torch.stack([function(rotations @ turn) for turn in ring]).mean(dim=0)

    wanted = by_definition(layer, spread, grid())
    found = sphere(sampled(function).mean(dim=2))
    torch.testing.assert_close(found[..., 0, :].detach(), wanted, **CLOSE)


@both
def test_gradients_are_those_of_finite_differences(kind: type) -> None:
    layer = kind(2, 1, 3, SO3Fourier(2)).double()
    shape = (4, 4, 1, 2) if kind is S2Convolution else (4, 4, 4, 1, 2)
    signal = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    parameters = [value.detach().requires_grad_() for value in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def call(signal: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), signal)

    assert torch.autograd.gradcheck(call, (signal, *parameters), **TOLERANCE[torch.float32])


def test_a_grid_of_one_degree_is_refused() -> None:
    with pytest.raises(ValueError, match="bandwidth must be an integer of at least 2, not 1"):
        SO3Fourier(1)
