"""How far a predicted DOS is from its reference."""

from typing import NamedTuple

import torch
from torch import Tensor

from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.electronic.observables import TooFew, _name, _result_dtype, band_energy, fdos, fermi_level
from csgnn_dgl.errors import InputError


class DOSErrors(NamedTuple):
    """Errors of predictions, each (...), prediction minus reference where there is a sign.

    Attributes
    ----------
    band_energy_per_atom
        Error of the band energy, in eV/atom.
    fermi_level
        Error of the Fermi level, in eV.
    dos_per_atom
        Root mean square error of the DOS over the grid, in states/(eV atom).
    fdos_per_atom
        Root mean square error of the FDOS over the grid, in states/atom.
    wasserstein
        Wasserstein distance of the normalised DOS, in eV.
    """

    band_energy_per_atom: Tensor
    fermi_level: Tensor
    dos_per_atom: Tensor
    fdos_per_atom: Tensor
    wasserstein: Tensor


def rmse(prediction: Tensor, reference: Tensor) -> Tensor:
    """Return the root mean square error over the last axis.

    Parameters
    ----------
    prediction, reference
        (..., count) values of any kind.

    Returns
    -------
    torch.Tensor
        (...) errors in the unit of the values; computed in float64, returned in float64 for float64, else in
        float32.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        dtype = torch.float64 if prediction.dtype == torch.float64 else torch.float32
        return (prediction.double() - reference.double()).square().mean(dim=-1).sqrt().to(dtype)


def wasserstein_distance(prediction: Tensor, reference: Tensor, grid: EnergyGrid = PAPER_GRID) -> Tensor:
    r"""Return the Wasserstein distance :math:`\int |F(\epsilon) - G(\epsilon)| d\epsilon` of normalised DOS.

    F and G are the cumulative DOS, each divided by its value at the end of the grid; linear within a bin. The
    integral is exact, also where the two cross inside a bin.

    Parameters
    ----------
    prediction, reference
        (..., count) DOS in any unit.
    grid
        The energy bins.

    Returns
    -------
    torch.Tensor
        (...) distances in eV; computed in float64, returned in float64 for float64, else in float32.

    Raises
    ------
    InputError
        If a DOS is empty, that is, has no positive integral, which cannot be normalised.
    ValueError
        If the last axis is not the grid's.
    """
    dtype = _result_dtype(prediction, grid)
    with torch.autocast(prediction.device.type, enabled=False):
        gap = _cumulative_shape(prediction, grid) - _cumulative_shape(reference, grid)
        right, left = gap, torch.nn.functional.pad(gap[..., :-1], (1, 0))
        size = left.abs() + right.abs()
        crossing = (left.square() + right.square()) / torch.where(size > 0, size, 1.0)
        return (torch.where(left * right < 0, crossing, size).sum(dim=-1) * (grid.width / 2)).to(dtype)


def dos_errors(
    prediction: Tensor,
    reference: Tensor,
    num_electrons: Tensor,
    num_atoms: Tensor,
    grid: EnergyGrid = PAPER_GRID,
    too_few: TooFew = "top",
) -> DOSErrors:
    """Compare predicted with reference DOS of whole cells.

    Parameters
    ----------
    prediction, reference
        (..., count) states per eV of the whole cell.
    num_electrons
        (...) electrons of the cell.
    num_atoms
        (...) atoms of the cell.
    grid
        The energy bins.
    too_few
        What to do with a prediction that holds too few electrons; see
        :func:`csgnn_dgl.electronic.fermi_level`. A reference that does so is always an error.

    Returns
    -------
    DOSErrors
        Each (...).

    Raises
    ------
    InputError
        If a DOS is empty or not finite, or a reference holds too few electrons.
    """
    energies = band_energy(prediction.double(), num_electrons, grid, too_few)
    wanted = band_energy(reference.double(), num_electrons, grid)
    level = fermi_level(prediction.double(), num_electrons, grid, too_few)
    wanted_level = fermi_level(reference.double(), num_electrons, grid)
    atoms = torch.as_tensor(num_atoms, device=prediction.device)
    predicted_atom, reference_atom = prediction.double() / atoms[..., None], reference.double() / atoms[..., None]
    dtype = _result_dtype(prediction, grid)
    return DOSErrors(
        ((energies - wanted) / atoms).to(dtype),
        (level - wanted_level).to(dtype),
        rmse(predicted_atom, reference_atom).to(dtype),
        rmse(fdos(predicted_atom, grid), fdos(reference_atom, grid)).to(dtype),
        wasserstein_distance(prediction, reference, grid),
    )


def _cumulative_shape(dos: Tensor, grid: EnergyGrid) -> Tensor:
    cumulative = fdos(dos.double(), grid)
    total = cumulative[..., -1:]
    full = total.squeeze(-1) > 0
    if not bool(full.all()):
        raise InputError(f"{_name(~full)} is empty or not a number, so it has no normalised shape; check it.")
    return cumulative / total
