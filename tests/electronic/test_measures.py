import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import wasserstein_distance as between_points

from csgnn_dgl.electronic import (
    PAPER_GRID,
    EnergyGrid,
    band_energy,
    dos_errors,
    fdos,
    fermi_level,
    rmse,
    wasserstein_distance,
)
from csgnn_dgl.errors import InputError
from tests.tolerances import NUMERIC, ROUNDED, TOLERANCE, approx

SMALL = EnergyGrid(-1.0, 0.5, 6)
curves = hnp.arrays(np.float64, 6, elements=st.floats(0.0, 5.0).map(lambda x: x if x > 1e-3 else 0.0))


@settings(deadline=None, max_examples=50)
@given(curves, curves)
def test_wasserstein_distance_is_that_of_many_points(first, second):
    first, second = first + 1e-3, second + 1e-3
    parts = 1000
    points = SMALL.start + SMALL.width / parts * (np.arange(6 * parts) + 0.5)
    expected = between_points(points, points, np.repeat(first, parts), np.repeat(second, parts))
    found = wasserstein_distance(torch.from_numpy(first), torch.from_numpy(second), SMALL)
    assert float(found) == approx(expected, **NUMERIC)


def test_wasserstein_distance_of_a_shift_is_the_shift(dtype):
    dos = torch.zeros(2, 310, dtype=dtype)
    dos[:, 100:150] = torch.rand(50).to(dtype)
    moved = dos.roll(7, dims=-1)
    distance = wasserstein_distance(moved, 3 * dos)
    assert distance.dtype == dtype
    torch.testing.assert_close(distance, torch.full((2,), 0.7, dtype=dtype), **TOLERANCE[dtype])
    assert not wasserstein_distance(dos, dos).any()


def test_an_empty_dos_has_no_shape():
    with pytest.raises(InputError, match="DOS 1 of the batch is empty or not a number"):
        wasserstein_distance(torch.tensor([[1.0], [0.0]]), torch.ones(2, 1), EnergyGrid(0, 1, 1))


def test_errors_of_predictions(dtype):
    reference = torch.rand(5, 310, dtype=torch.float64) * 4 + 1
    prediction = reference * (1 + 0.1 * torch.rand(5, 310, dtype=torch.float64))
    atoms = torch.tensor([4, 5, 6, 7, 8])
    errors = dos_errors(prediction.to(dtype), reference.to(dtype), 4.0 * atoms, atoms)
    assert all(error.shape == (5,) and error.dtype == dtype for error in errors)
    electrons = 4.0 * atoms
    energy = (band_energy(prediction, electrons) - band_energy(reference, electrons)) / atoms
    level = fermi_level(prediction, electrons) - fermi_level(reference, electrons)
    gap = ((prediction - reference) / atoms[:, None]).numpy()
    for found, expected in (
        (errors.band_energy_per_atom, energy),
        (errors.fermi_level, level),
        (errors.dos_per_atom, np.sqrt((gap**2).mean(axis=1))),
        (errors.fdos_per_atom, np.sqrt(((np.cumsum(gap, axis=1) * 0.1) ** 2).mean(axis=1))),
    ):
        np.testing.assert_allclose(found.double().numpy(), np.asarray(expected), **TOLERANCE[dtype])
    assert (errors.band_energy_per_atom < 0).all()


def test_a_prediction_may_hold_too_few_electrons_but_a_reference_may_not():
    full, poor = torch.ones(1, 310), torch.full((1, 310), 0.1)
    electrons, atoms = torch.tensor([20.0]), torch.tensor([5])
    assert float(dos_errors(poor, full, electrons, atoms).fermi_level) == approx(11.0, **ROUNDED)
    with pytest.raises(InputError, match="DOS 0 of the batch holds 3.1 electrons"):
        dos_errors(poor, full, electrons, atoms, PAPER_GRID, "raise")
    with pytest.raises(InputError, match="DOS 0 of the batch holds 3.1 electrons"):
        dos_errors(full, poor, electrons, atoms)


def test_rmse():
    found = rmse(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([2.5, 12.5]).sqrt(), **ROUNDED)
    assert fdos(torch.ones(310)).shape == (310,)
