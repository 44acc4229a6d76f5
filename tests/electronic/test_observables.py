"""FDOS, Fermi level and band energy against NumPy integration, analytic cases, and the built-in data."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import quad
from scipy.optimize import brentq

from csgnn_dgl.data import carbon_snapshots
from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid, band_energy, band_energy_per_atom, fdos, fermi_level
from csgnn_dgl.errors import InputError
from tests.tolerances import EXACT, NUMERIC, ROUNDED, TOLERANCE, approx, drawn

SMALL = EnergyGrid(-2.0, 0.25, 16)


def by_quadrature(dos: np.ndarray, electrons: float, grid: EnergyGrid) -> tuple[float, float]:
    """Fermi level and band energy of a DOS without gaps, by root finding and numerical quadrature."""
    edges = grid.edges

    def density(energy: float) -> float:
        return float(dos[min(int((energy - grid.start) / grid.width), grid.count - 1)])

    def filled(energy: float) -> float:
        return float(np.interp(energy, edges, np.concatenate([[0], np.cumsum(dos) * grid.width])))

    level = brentq(lambda energy: filled(energy) - electrons, edges[0], edges[-1], xtol=1e-13)
    inside = edges[(edges > edges[0]) & (edges < level)]
    pieces = np.concatenate([edges[:1], inside, [level]])
    parts = [quad(lambda e: density(e) * e, a + 1e-13, b - 1e-13)[0] for a, b in pairwise(pieces)]
    return level, sum(parts)


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float64, 16, elements=st.floats(0.1, 9)), st.floats(0.05, 0.95))
def test_equals_root_finding_and_quadrature(dos, share):
    electrons = share * dos.sum() * SMALL.width
    level, energy = by_quadrature(dos, electrons, SMALL)
    values = torch.from_numpy(dos)
    assert float(fermi_level(values, electrons, SMALL)) == approx(level, **TOLERANCE[torch.float64])
    assert float(band_energy(values, electrons, SMALL)) == approx(energy, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("electrons", [0.3, 1.0, 2.7, 4.0])
def test_rectangular_band(dtype, electrons):
    # 2 states/eV from -10 to -8 eV: E_F = -10 + N / 2 and the band energy is E_F² - 100.
    dos = torch.zeros(310, dtype=dtype)
    dos[200:220] = 2
    level = -10 + electrons / 2
    torch.testing.assert_close(fermi_level(dos, electrons), torch.tensor(level, dtype=dtype), **TOLERANCE[dtype])
    energy = torch.tensor(level**2 - 100, dtype=dtype)
    torch.testing.assert_close(band_energy(dos, electrons), energy, **TOLERANCE[dtype])
    assert float(band_energy_per_atom(dos, electrons, 4)) == approx(float(energy) / 4, **ROUNDED)


@pytest.mark.parametrize("height", [2.0, 0.7, 1 / 3, 1e-3, 317.77])
def test_a_level_at_a_gap_is_the_top_of_the_filled_band(dtype, height):
    dos = torch.zeros(310, dtype=dtype)
    dos[100:117] = height
    dos[250:] = 5.0
    electrons = 1.7 * height
    level = fermi_level(dos, electrons)
    assert float(level) == approx(-30 + 11.7, **ROUNDED)
    dos.requires_grad_()
    (gradient,) = torch.autograd.grad(fermi_level(dos, electrons), dos)
    # more states below lower the level: dE_F/dDOS_i = -w / DOS(E_F)
    torch.testing.assert_close(gradient[100:117], torch.full((17,), -0.1 / height, dtype=dtype), **TOLERANCE[dtype])
    assert not gradient[117:].any()


def test_one_electron_more_lies_beyond_the_gap():
    dos = torch.zeros(310, dtype=torch.float64)
    dos[100:110], dos[200:] = 2.0, 5.0
    assert float(fermi_level(dos, 2.0)) == approx(-19.0, **EXACT)
    assert float(fermi_level(dos, 2.5)) == approx(-10 + 0.1, **EXACT)


def test_batches_of_any_shape_and_per_atom(dtype):
    dos = torch.rand(3, 2, 310, dtype=dtype) + 0.1
    electrons = torch.rand(3, 2, dtype=dtype) * 10 + 1
    levels, energies, integral = fermi_level(dos, electrons), band_energy(dos, electrons), fdos(dos)
    assert levels.shape == energies.shape == (3, 2)
    assert levels.dtype == energies.dtype == integral.dtype == dtype
    for i in range(3):
        for j in range(2):
            assert float(levels[i, j]) == float(fermi_level(dos[i, j], electrons[i, j]))
            assert float(energies[i, j]) == float(band_energy(dos[i, j], float(electrons[i, j])))
    atoms = torch.tensor([[1, 2], [3, 4], [5, 6]])
    per_atom = band_energy(dos / atoms[..., None], electrons / atoms)
    torch.testing.assert_close(band_energy_per_atom(dos, electrons, atoms), per_atom, **TOLERANCE[dtype])
    torch.testing.assert_close(fermi_level(dos / 7, electrons / 7), levels, **TOLERANCE[dtype])
    np.testing.assert_allclose(integral.numpy(), np.cumsum(dos.double().numpy(), axis=-1) * 0.1, **ROUNDED)


def test_gradients():
    generator = torch.Generator().manual_seed(1)
    dos = (torch.rand(2, 16, generator=generator, dtype=torch.float64) + 0.2).requires_grad_()
    electrons = torch.tensor([1.1, 0.8], dtype=torch.float64, requires_grad=True)
    for function in (fermi_level, band_energy):
        assert torch.autograd.gradcheck(lambda d, n, f=function: f(d, n, SMALL), (dos, electrons), **NUMERIC)
    assert torch.autograd.gradcheck(lambda d: fdos(d, SMALL), (dos,), **NUMERIC)
    # dE_band/dN is the Fermi level
    (slope,) = torch.autograd.grad(band_energy(dos, electrons, SMALL).sum(), electrons)
    torch.testing.assert_close(slope, fermi_level(dos, electrons, SMALL), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_give_float32(dtype):
    dos = (torch.rand(4, 310) + 0.1).to(dtype)
    expected = band_energy(dos.float(), 12.0)
    assert torch.equal(band_energy(dos, 12.0), expected)
    assert expected.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(band_energy(dos.float(), 12.0), expected)
        assert torch.equal(fdos(dos), fdos(dos.float()))


def test_float32_is_summed_in_float64():
    dos = torch.full((310,), 100.0) + torch.rand(310)
    exact = np.cumsum(dos.double().numpy()) * 0.1
    np.testing.assert_array_equal(fdos(dos).numpy(), exact.astype(np.float32))
    level = fermi_level(dos.double(), 2500.5)
    assert float(fermi_level(dos, 2500.5)) == approx(float(level), **ROUNDED)


@pytest.mark.parametrize("split", ["val", "test"])
def test_values_stored_in_the_data(split):
    snapshots = carbon_snapshots(split)
    dos, electrons = torch.from_numpy(snapshots.dos), torch.from_numpy(snapshots.num_electrons)
    atoms = torch.from_numpy(snapshots.num_atoms)
    levels = np.array([item.fermi_level for item in snapshots])
    energies = np.array([item.band_energy for item in snapshots])
    # the electrons that 310 values lose together by their rounding to five decimals; each lies at most 30 eV from zero
    lost = drawn(310 * 0.1 * 1e-5 / 12**0.5, 310)
    height = snapshots.dos[np.arange(len(levels)), ((levels + 30) / 0.1).astype(int)]
    np.testing.assert_allclose((fermi_level(dos, electrons).numpy() - levels) * height, 0, **lost)
    for values in (dos, dos.float()):
        found = band_energy_per_atom(values, electrons, atoms).numpy() * snapshots.num_atoms
        np.testing.assert_allclose(found / 30, energies / 30, **lost)


def test_negative_values_of_predictions_are_taken_as_they_are():
    dos = torch.tensor([1.0, -0.5, 2.0, 1.0], dtype=torch.float64)
    grid = EnergyGrid(0.0, 1.0, 4)
    assert float(fermi_level(dos, 0.9, grid)) == approx(0.9, **EXACT)
    assert float(fermi_level(dos, 1.5, grid)) == approx(2.5, **EXACT)
    assert float(band_energy(dos, 1.5, grid)) == approx(0.5 - 0.75 + 2.25, **EXACT)


def test_too_few_electrons():
    dos = torch.ones(2, 310, dtype=torch.float64)
    dos[1] *= 0.5
    with pytest.raises(InputError, match=r"DOS 1 of the batch holds 15\.5 electrons up to 1 eV, fewer than the 20 "):
        fermi_level(dos, 20.0)
    with pytest.raises(InputError, match="^the DOS is empty"):
        band_energy(torch.zeros(310), 4.0)
    levels = fermi_level(dos.requires_grad_(), 20.0, too_few="top")
    torch.testing.assert_close(levels.detach(), torch.tensor([-10.0, 1.0], dtype=torch.float64), **EXACT)
    levels.sum().backward()
    assert dos.grad is not None
    assert dos.grad.isfinite().all()
    assert not dos.grad[1].any()
    energy = band_energy(dos.detach(), 20.0, too_few="top")
    torch.testing.assert_close(energy, torch.tensor([(100 - 900) / 2, (1 - 900) / 4], dtype=torch.float64), **EXACT)
    assert float(fermi_level(dos[0].detach(), 31.0)) == approx(1.0, **EXACT)


def test_refuses_what_is_no_dos():
    dos = torch.ones(3, 310)
    broken = dos.clone()
    broken[2, 5] = float("nan")
    with pytest.raises(InputError, match="DOS 2 of the batch has a value that is NaN or infinite"):
        fermi_level(broken, 4.0)
    for count in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="DOS 1 of the batch has an electron count of"):
            band_energy(dos, torch.tensor([1.0, count, 1.0]))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 310\) of the energy grid, not \(3, 311\)"):
        fermi_level(torch.ones(3, 311), 4.0)
    with pytest.raises(ValueError, match=r"num_electrons has the shape \(2,\)"):
        fermi_level(dos, torch.ones(2))
    with pytest.raises(ValueError, match="too_few must be 'raise' or 'top', not 'ignore'"):
        fermi_level(dos, 4.0, PAPER_GRID, "ignore")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"not torch\.int64"):
        fdos(torch.ones(310, dtype=torch.int64))
