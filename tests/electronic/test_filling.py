"""Filling a predicted DOS up to a given Fermi level."""

import numpy as np
import pytest
import torch

from csgnn_dgl.electronic import EnergyGrid, band_energy, fermi_level, filled_up_to, states_below
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
    torch.testing.assert_close(filled[:, far], dos[:, far], **NUMERIC)
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
    torch.testing.assert_close(filled[0].clamp(min=0.1), dos[0].clamp(min=0.1), **EXACT)


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
