"""Making a predicted DOS what one must be: nowhere negative, and with the electrons up to its Fermi level."""

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.electronic.observables import _result_dtype, states_below

REACH = 0.5
"""Width in eV of the Gaussian about the Fermi level within which the DOS is changed."""

FLOOR = 1e-5
"""Least DOS at the Fermi level, in states/(eV atom): less than the tails of levels leave in the gap of C60."""

LEAST, MOST = 0.1, 3.0
"""By what factors the DOS at the Fermi level may change; a prediction that asks for more keeps another level."""


def filled_up_to(dos_per_atom: Tensor, level: Tensor, electrons: Tensor, grid: EnergyGrid = PAPER_GRID) -> Tensor:
    r"""Scale a DOS about a Fermi level E so that it holds the electrons up to there.

    A few thousandths of an electron decide where the electrons end in a gap, so that errors of the DOS that nothing
    else would tell move the Fermi level from one end of the gap to the other. Here the level is given, and the DOS
    follows it. First it is made non-negative (`non_negative`). With the window
    :math:`w(\epsilon) = e^{-(\epsilon - E)^2 / 2 (0.5\,eV)^2}` it is then raised to w · 1e-5 states/(eV atom) at least,
    which leaves no false gap, and multiplied by 1 + a·w with the a that makes its integral up to E the number of
    electrons. The Fermi level of the result is E. States far from E, and the DOS of a prediction that was right, stay
    as they are.

    Parameters
    ----------
    dos_per_atom
        (S, count) states per eV and atom.
    level
        (S,) Fermi levels in eV; one outside of the grid counts as its end.
    electrons
        (S,) electrons per atom.
    grid
        The energy bins.

    Returns
    -------
    torch.Tensor
        (S, count) float64, differentiable with respect to the DOS and the level. Where `electrons` is not a number, and
        where the factor at the level would leave [0.1, 3], as far as that allows.

    Raises
    ------
    ValueError
        If the last axis is not the grid's.
    """
    _result_dtype(dos_per_atom, grid)
    with torch.autocast(dos_per_atom.device.type, enabled=False):
        dos, level = non_negative(dos_per_atom, grid), level.double().clamp(grid.start + grid.width, grid.stop)
        centres = torch.from_numpy(grid.centres).to(dos.device)
        window = ((centres - level[:, None]).square() / (-2 * REACH**2)).exp()
        dos = torch.maximum(dos, FLOOR * window)
        movable = dos * window
        missing = electrons.double() - states_below(dos, level, grid)
        factor = missing / states_below(movable, level, grid).clamp(min=FLOOR)
        factor = torch.where(electrons.isfinite(), factor.clamp(LEAST - 1, MOST - 1), 0.0)
        return dos + movable * factor[:, None]


def non_negative(dos_per_atom: Tensor, grid: EnergyGrid = PAPER_GRID) -> Tensor:
    r"""Take what is below zero in a DOS from the states beside it.

    The integral of the DOS up to each energy must not fall. It is replaced by the nearest function that never does,
    in the mean square over the energies (isotonic regression), and not below zero. Where it falls, this is its mean
    over the energies about the fall; elsewhere it stays. The mean error of the integral gets no larger by that,
    whatever the true DOS is. The band energy is the electrons times the Fermi level less the integral over these means,
    and stays as it is, up to what lies below zero at the lower end of the grid. Cutting the DOS off at zero would add
    states of low energy instead, and move the band energy by the electrons that they push to the Fermi level.

    Parameters
    ----------
    dos_per_atom
        (S, count) states per eV and atom.
    grid
        The energy bins.

    Returns
    -------
    torch.Tensor
        (S, count) float64, at least 0, differentiable. A DOS that is nowhere below zero, or not finite, as it is.

    Raises
    ------
    ValueError
        If the last axis is not the grid's.
    """
    from scipy.optimize import isotonic_regression

    _result_dtype(dos_per_atom, grid)
    with torch.autocast(dos_per_atom.device.type, enabled=False):
        dos = dos_per_atom.double()
        falls = (dos < 0).any(dim=1) & dos.isfinite().all(dim=1)
        if not bool(falls.any()):
            return dos
        cumulative = dos[falls].cumsum(dim=1)
        run = np.empty(cumulative.shape, dtype=np.int64)  # the run of equal values that each bin belongs to
        for row, values in zip(run, np.asarray(cumulative.detach().cpu()), strict=True):
            ends = isotonic_regression(values).blocks
            row[:] = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        runs = torch.from_numpy(run).to(dos.device)
        sums = torch.zeros_like(cumulative).scatter_add(1, runs, cumulative)
        sizes = torch.zeros_like(cumulative).scatter_add(1, runs, torch.ones_like(cumulative))
        rising = (sums / sizes.clamp(min=1)).gather(1, runs).clamp(min=0)
        mended = torch.diff(rising, dim=1, prepend=torch.zeros_like(rising[:, :1])).clamp(min=0)
        return dos.index_put((falls.nonzero()[:, 0],), mended)
