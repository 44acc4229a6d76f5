"""Filling a predicted DOS up to a given Fermi level."""

import numpy as np
import pytest
import torch
from sklearn.isotonic import IsotonicRegression

from csgnn_dgl.electronic import EnergyGrid, band_energy, fdos, fermi_level, filled_up_to, non_negative, states_below
from tests.tolerances import COARSE, GRADCHECK, NUMERIC, TOLERANCE

GRID = EnergyGrid(-10.0, 0.1, 110)
EXACT = TOLERANCE[torch.float64]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def gapped(noise: float, rng: np.random.Generator) -> torch.Tensor:
    """Four electrons below a gap from -4 to -2 eV, and noise everywhere."""
    energies = GRID.centres
    dos = np.where((energies > -8) & (energies < -4) | (energies > -2), 1.0, 0.0)
    return torch.from_numpy(dos + noise * rng.normal(size=(3, GRID.count)))


def test_the_level_of_the_result_is_the_given_one(rng):
    level, electrons = torch.tensor([-3.03, -3.5, -2.9], dtype=torch.float64), torch.full((3,), 4.0).double()
    dos = gapped(0.01, rng)
    filled = filled_up_to(dos, level, electrons, GRID)
    torch.testing.assert_close(states_below(filled, level, GRID), electrons, **EXACT)
    # The density in the gap is 1e-5 states/eV, so that the electrons' last digits count a hundred thousand times.
    torch.testing.assert_close(fermi_level(filled, electrons, GRID), level, **NUMERIC)
    far = torch.from_numpy(abs(GRID.centres + 3) > 3.5)
    torch.testing.assert_close(filled[:, far], non_negative(dos, GRID)[:, far], **NUMERIC)
    assert filled.min() >= 0
    assert (fermi_level(dos, electrons, GRID, "top") - level).abs().max() > 0.3


def test_what_is_right_already_keeps_its_band_energy(rng):
    dos, electrons = gapped(0.0, rng), torch.full((3,), 3.0).double()
    level = fermi_level(dos, electrons, GRID)
    filled = filled_up_to(dos, level, electrons, GRID)
    wanted = band_energy(dos, electrons, GRID)
    torch.testing.assert_close(band_energy(filled, electrons, GRID), wanted, **COARSE)


def test_unknown_electrons_and_impossible_ones_change_little(rng):
    dos = gapped(0.01, rng)
    level = torch.full((3,), -3.0).double()
    filled = filled_up_to(dos, level, torch.tensor([float("nan"), 400.0, 1e-3]).double(), GRID)
    assert filled.isfinite().all()
    assert filled.max() < 4 * dos.max()
    torch.testing.assert_close(filled[0].clamp(min=1e-3), non_negative(dos, GRID)[0].clamp(min=1e-3), **EXACT)


def test_is_differentiable(rng):
    dos = gapped(0.0, rng)[:2].add(0.2).requires_grad_()
    level = torch.tensor([-3.02, -5.03]).double().requires_grad_()
    electrons = torch.tensor([4.1, 3.3]).double()
    assert torch.autograd.gradcheck(lambda rows, at: filled_up_to(rows, at, electrons, GRID), (dos, level), **GRADCHECK)


def test_states_below_an_energy_within_a_bin(rng):
    dos = torch.from_numpy(rng.uniform(size=(2, GRID.count)))
    level = torch.tensor([-9.93, 5.0], dtype=torch.float64)
    found = states_below(dos, level, GRID)
    torch.testing.assert_close(found[0], 0.07 * dos[0, 0], **EXACT)
    torch.testing.assert_close(found[1], 0.1 * dos[1].sum(), **EXACT)


def test_a_negative_dos_is_mended_with_the_states_beside_it(rng):
    dos = gapped(0.05, rng)
    dos[:, :20] = dos[:, :20].abs()  # so that no integral is below zero
    found, electrons = non_negative(dos, GRID), torch.full((3,), 3.5).double()
    assert dos.min() < -0.05 and found.min() == 0
    # the nearest integral that never falls: sklearn's, which is another program
    for row, values in zip(fdos(found, GRID), fdos(dos, GRID), strict=True):
        wanted = IsotonicRegression().fit_transform(np.arange(GRID.count), values)
        np.testing.assert_allclose(row, wanted, **EXACT)
    # Whatever the truth is, here the DOS without noise, the integral is not farther from it.
    before, after = (fdos(each - gapped(0.0, rng), GRID).norm(dim=1) for each in (dos, found))
    assert (after < before).all()
    # nor do the Fermi level and the band energy move, where the states are
    for measure in (fermi_level, band_energy):
        torch.testing.assert_close(measure(found, electrons, GRID), measure(dos, electrons, GRID), **EXACT)


def test_what_needs_no_mending_or_cannot_be_mended_stays():
    dos = torch.stack([gapped(0.0, np.random.default_rng(0))[0], torch.full((GRID.count,), torch.nan)])
    dos[1, 0] = -1.0
    assert torch.equal(non_negative(dos, GRID)[0], dos[0])
    assert non_negative(dos, GRID)[1].isnan().any()
    assert not non_negative(-dos[:1], GRID).any()  # nothing is left of what is nowhere positive


def test_mending_is_differentiable(rng):
    dos = gapped(0.05, rng)[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: non_negative(rows, GRID), (dos,), **GRADCHECK)
