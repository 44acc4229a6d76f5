"""FDOS, Fermi level and band energy of a binned DOS: one definition for references and predictions alike."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError

TooFew = Literal["raise", "top"]

TOLERANCE = {torch.float32: 1e-7, torch.float64: 1e-12}
"""By what share of the electron count rounding may keep the FDOS of a full band from reaching it."""


class _Prepared(NamedTuple):
    """A checked batch in float64, and the dtype of its results."""

    dos: Tensor
    electrons: Tensor
    dtype: torch.dtype
    edges: Tensor


def fdos(dos: Tensor, grid: EnergyGrid = PAPER_GRID) -> Tensor:
    r"""Integrate the DOS up to the upper edge of each bin: :math:`FDOS_j = w \sum_{i \le j} DOS_i`.

    Parameters
    ----------
    dos
        (..., count) states per eV; w is the width of a bin.
    grid
        The energy bins.

    Returns
    -------
    torch.Tensor
        (..., count) number of states; summed in float64, returned in float64 for float64, else in float32.

    Raises
    ------
    ValueError
        If the last axis is not the grid's.
    TypeError
        If `dos` is not a tensor of floating-point numbers.
    """
    dtype = _result_dtype(dos, grid)
    with torch.autocast(dos.device.type, enabled=False):
        return (dos.double().cumsum(dim=-1) * grid.width).to(dtype)


def states_below(dos: Tensor, level: Tensor, grid: EnergyGrid = PAPER_GRID) -> Tensor:
    """Integrate the DOS up to an energy, which may lie within a bin.

    Parameters
    ----------
    dos
        (..., count) states per eV.
    level
        (...) energies in eV; outside of the grid they count as its end.
    grid
        The energy bins.

    Returns
    -------
    torch.Tensor
        (...) number of states, differentiable with respect to both; computed in float64, returned in float64 for
        float64, else in float32.

    Raises
    ------
    ValueError, TypeError
        As :func:`fdos`.
    """
    dtype = _result_dtype(dos, grid)
    with torch.autocast(dos.device.type, enabled=False):
        lower = torch.from_numpy(grid.edges[:-1]).to(dos.device)
        occupied = (level.double()[..., None] - lower).clamp(0, grid.width)
        return (dos.double() * occupied).sum(dim=-1).to(dtype)


def fermi_level(
    dos: Tensor, num_electrons: Tensor | float, grid: EnergyGrid = PAPER_GRID, too_few: TooFew = "raise"
) -> Tensor:
    """Return the Fermi level: the lowest energy at which the cumulative DOS reaches the electron count.

    The cumulative DOS is linear within a bin, so the level lies inside its bin. Where the count is reached at
    the lower end of a gap, that end (the top of the valence band) is the level; "reached" allows for rounding
    (1e-12 of the count in float64, 1e-7 in float32), which would otherwise move the level across the gap. A
    DOS may be negative in places, as predictions are: the first crossing counts.

    The level is differentiable with respect to `dos` and `num_electrons`, for a fixed bin.

    Parameters
    ----------
    dos
        (..., count) states per eV, of a cell or per atom.
    num_electrons
        (...) or one number: the electrons of the same cell, or per atom.
    grid
        The energy bins.
    too_few
        What to do with a DOS that holds fewer electrons on the grid than asked for: ``"raise"``, or ``"top"``
        to take the upper end of the grid, for predictions.

    Returns
    -------
    torch.Tensor
        (...) energies in eV; computed in float64, returned in float64 for float64, else in float32.

    Raises
    ------
    InputError
        If a DOS is not finite, is empty, or holds too few electrons; if a count is not positive.
    ValueError
        If shapes do not fit or `too_few` is unknown.
    """
    with torch.autocast(dos.device.type, enabled=False):
        prepared = _prepare(dos, num_electrons, grid)
        return _fermi_level(prepared, grid, too_few).to(prepared.dtype)


def band_energy(
    dos: Tensor, num_electrons: Tensor | float, grid: EnergyGrid = PAPER_GRID, too_few: TooFew = "raise"
) -> Tensor:
    r"""Return the band energy :math:`\int_{-\infty}^{E_F} DOS(\epsilon)\, \epsilon \, d\epsilon` (Eq. 4).

    The integral is exact for a DOS that is constant within each bin, and ends at the Fermi level inside its
    bin (:func:`fermi_level`). It is differentiable with respect to `dos` and `num_electrons`.

    Parameters
    ----------
    dos
        (..., count) states per eV, of a cell or per atom.
    num_electrons
        (...) or one number: the electrons of the same cell, or per atom.
    grid
        The energy bins.
    too_few
        See :func:`fermi_level`.

    Returns
    -------
    torch.Tensor
        (...) energies in eV, of the cell or per atom as the DOS is; computed in float64, returned in float64
        for float64, else in float32.

    Raises
    ------
    InputError, ValueError
        As :func:`fermi_level`.
    """
    with torch.autocast(dos.device.type, enabled=False):
        prepared = _prepare(dos, num_electrons, grid)
        return _band_energy(prepared, _fermi_level(prepared, grid, too_few)).to(prepared.dtype)


def band_energy_per_atom(
    dos: Tensor,
    num_electrons: Tensor | float,
    num_atoms: Tensor | int,
    grid: EnergyGrid = PAPER_GRID,
    too_few: TooFew = "raise",
) -> Tensor:
    """Return the band energy of whole cells divided by their numbers of atoms, in eV/atom.

    Parameters
    ----------
    dos
        (..., count) states per eV of the whole cell.
    num_electrons
        (...) electrons of the whole cell.
    num_atoms
        (...) atoms of the cell.
    grid, too_few
        See :func:`fermi_level`.

    Returns
    -------
    torch.Tensor
        (...) energies in eV/atom; float64 for float64, else float32.

    Raises
    ------
    InputError, ValueError
        As :func:`fermi_level`.
    """
    with torch.autocast(dos.device.type, enabled=False):
        prepared = _prepare(dos, num_electrons, grid)
        return (_band_energy(prepared, _fermi_level(prepared, grid, too_few)) / num_atoms).to(prepared.dtype)


def _result_dtype(dos: Tensor, grid: EnergyGrid) -> torch.dtype:
    if not isinstance(dos, Tensor) or not dos.is_floating_point():
        kind = dos.dtype if isinstance(dos, Tensor) else type(dos).__name__
        raise TypeError(f"dos must be a tensor of floating-point numbers, not {kind}")
    if dos.dim() == 0 or dos.shape[-1] != grid.count:
        raise ValueError(f"dos must have the shape (..., {grid.count}) of the energy grid, not {tuple(dos.shape)}")
    return torch.float64 if dos.dtype == torch.float64 else torch.float32


def _prepare(dos: Tensor, num_electrons: Tensor | float, grid: EnergyGrid) -> _Prepared:
    dtype = _result_dtype(dos, grid)
    electrons = torch.as_tensor(num_electrons, dtype=torch.float64, device=dos.device)
    try:
        electrons = electrons.expand(dos.shape[:-1])
    except RuntimeError:
        raise ValueError(
            f"num_electrons has the shape {tuple(electrons.shape)}; give one number, or one for each DOS "
            f"{tuple(dos.shape[:-1])}"
        ) from None
    values = dos.double()
    finite = values.isfinite().all(dim=-1)
    if not bool(finite.all()):
        raise InputError(f"{_name(~finite)} has a value that is NaN or infinite; remove or repair it.")
    positive = (electrons > 0) & electrons.isfinite()
    if not bool(positive.all()):
        bad = float(electrons[~positive].reshape(-1)[0])
        raise InputError(f"{_name(~positive)} has an electron count of {bad:g}; give a positive number.")
    return _Prepared(values, electrons, dtype, torch.from_numpy(grid.edges).to(dos.device))


def _fermi_level(prepared: _Prepared, grid: EnergyGrid, too_few: TooFew) -> Tensor:
    if too_few not in ("raise", "top"):
        raise ValueError(f"too_few must be 'raise' or 'top', not {too_few!r}")
    dos, electrons, dtype, edges = prepared
    filled = dos.cumsum(dim=-1) * grid.width
    reached = filled.detach() >= (electrons * (1 - TOLERANCE[dtype]))[..., None]
    enough = reached.any(dim=-1)
    if too_few == "raise" and not bool(enough.all()):
        _explain_too_few(filled, electrons, enough, grid)
    # the first bin at whose upper edge the count is reached; before it, it was not, so its DOS is positive
    place = reached.to(torch.uint8).argmax(dim=-1, keepdim=True)
    density = dos.gather(-1, place).squeeze(-1)
    below = filled.gather(-1, place).squeeze(-1) - density * grid.width
    depth = (electrons - below) / torch.where(enough, density, 1.0)
    # Rounding may lead out of the bin, the gradient of which holds all the same.
    depth = depth + (depth.clamp(0, grid.width) - depth).detach()
    return torch.where(enough, edges[place.squeeze(-1)] + depth, grid.stop)


def _band_energy(prepared: _Prepared, level: Tensor) -> Tensor:
    lower, upper = prepared.edges[:-1], prepared.edges[1:]
    end = torch.minimum(torch.maximum(level[..., None], lower), upper)
    return (prepared.dos * (end - lower) * (end + lower) / 2).sum(dim=-1)


def _explain_too_few(filled: Tensor, electrons: Tensor, enough: Tensor, grid: EnergyGrid) -> None:
    place = tuple((~enough).nonzero()[0].tolist())
    found, wanted = float(filled.detach().amax(dim=-1)[place]), float(electrons.detach()[place])
    if not bool(filled[place].any()):
        raise InputError(f"{_name(~enough)} is empty; a Fermi level needs states on the energy grid.")
    raise InputError(
        f"{_name(~enough)} holds {found:.6g} electrons up to {grid.stop:g} eV, fewer than the {wanted:.6g} there "
        f"are; widen the energy grid, check its alignment or the electron count."
    )


def _name(bad: Tensor) -> str:
    """Name the first DOS of a batch that is bad."""
    place = bad.nonzero()[0].tolist()
    return f"DOS {', '.join(map(str, place))} of the batch" if place else "the DOS"
