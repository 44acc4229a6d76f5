"""Wigner's d functions against e3nn, and sums over the grid against integrals."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry.wigner import latitudes, wigner_d
from tests.tolerances import TOLERANCE

CLOSE = TOLERANCE[torch.float64]


@pytest.fixture
def double() -> Iterator[None]:
    """Let e3nn compute in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_d_functions_are_those_of_e3nn(double: None) -> None:
    wigner = pytest.importorskip("e3nn.o3._wigner")
    bandwidth, angles = 6, np.array([0.0, 0.3, np.pi / 2, 1.9, np.pi])
    found = wigner_d(bandwidth, angles)
    for degree in range(bandwidth):
        basis = wigner.change_basis_real_to_complex(degree, dtype=torch.float64)
        own = slice(bandwidth - 1 - degree, bandwidth + degree)
        for place, angle in enumerate(angles):
            # of e3nn's angles the middle one turns about its axis x, which stands where y does in Z Y Z
            turned = wigner.wigner_D(degree, *torch.tensor([0.0, angle, 0.0]))
            wanted = basis @ turned.to(basis.dtype) @ basis.conj().T
            np.testing.assert_allclose(found[degree, own, own, place], wanted.numpy(), **CLOSE)


def test_orders_beyond_the_degree_are_zero() -> None:
    table = wigner_d(4, np.array([0.7]))[..., 0]
    order = np.abs(np.arange(-3, 4))
    for degree in range(4):
        beyond = np.maximum.outer(order, order) > degree
        assert not table[degree][beyond].any() and table[degree][~beyond].all()


@pytest.mark.parametrize("bandwidth", [1, 2, 7, 32])
def test_sums_over_the_latitudes_are_integrals_of_polynomials(bandwidth: int) -> None:
    angles, weights = latitudes(bandwidth)
    for degree in range(2 * bandwidth):
        wanted = 0 if degree % 2 else 1 / (degree + 1)  # the mean of cos^degree over the sphere
        np.testing.assert_allclose(np.cos(angles) ** degree @ weights, wanted, **CLOSE)
