"""Making a predicted DOS hold the electrons that there are, up to a Fermi level that was predicted with it."""

import torch
from torch import Tensor

from csgnn_dgl.electronic.grid import PAPER_GRID, EnergyGrid
from csgnn_dgl.electronic.observables import _result_dtype, states_below

REACH = 0.5
"""Width in eV of the Gaussian about the Fermi level within which the DOS is changed."""

FLOOR = 1e-5
"""Least DOS about the Fermi level, in states/(eV atom): less than the tails of levels leave in the gap of C60."""

LEAST, MOST = 0.1, 3.0
"""By what factors the DOS at the Fermi level may change; a prediction that asks for more keeps another level."""


def filled_up_to(dos_per_atom: Tensor, level: Tensor, electrons: Tensor, grid: EnergyGrid = PAPER_GRID) -> Tensor:
    r"""Scale a DOS about a Fermi level E so that it holds the electrons up to there.

    A few thousandths of an electron decide where the electrons end in a gap, so that errors of the DOS that nothing
    else would tell move the Fermi level from one end of the gap to the other. Here the level is given, and the DOS
    follows it: with the window :math:`w(\epsilon) = e^{-(\epsilon - E)^2 / 2 (0.5\,eV)^2}`, it is raised to 1e-5
    states/(eV atom) at least where w > 0.1, which leaves no false gaps and nothing negative, and then multiplied by
    1 + a·w with the a that makes its integral up to E the number of electrons. The Fermi level of the result is E.
    States far from E, and the DOS of a prediction that was right, stay as they are.

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
        dos, level = dos_per_atom.double(), level.double().clamp(grid.start + grid.width, grid.stop)
        centres = torch.from_numpy(grid.centres).to(dos.device)
        window = ((centres - level[:, None]).square() / (-2 * REACH**2)).exp()
        dos = torch.where(window > 0.1, dos.clamp(min=FLOOR), dos)
        movable = dos.clamp(min=0) * window
        missing = electrons.double() - states_below(dos, level, grid)
        factor = missing / states_below(movable, level, grid).clamp(min=FLOOR)
        factor = torch.where(electrons.isfinite(), factor.clamp(LEAST - 1, MOST - 1), 0.0)
        return dos + movable * factor[:, None]
