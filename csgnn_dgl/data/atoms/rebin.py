"""A DOS from other energies onto the bins of a grid, without losing electrons."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csgnn_dgl.electronic.grid import EnergyGrid
from csgnn_dgl.errors import InputError

LOST = 1e-3
"""Electrons that may lie below the grid before it counts as a mistake."""


def rebin(
    energies: ArrayLike, cumulative: ArrayLike, grid: EnergyGrid, name: str, offset: float = 0.0
) -> NDArray[np.float64]:
    """Return the DOS (count,), in states per eV, on the bins of `grid` whose integral is a given cumulative DOS.

    The cumulative DOS, linear between the energies, is read at the edges of the bins; a bin's DOS is the
    difference over the bin divided by its width. So every bin holds the electrons that the file has there.

    Parameters
    ----------
    energies, cumulative
        (M,) ascending energies in eV, and the number of states up to each of them.
    grid
        The energy bins.
    name
        What a complaint begins with.
    offset
        Added to the energies, in eV: what aligns the file's zero with the grid's (for example minus the vacuum level).

    Raises
    ------
    InputError
        If there are fewer than two energies, a number is not finite, the energies do not ascend, states lie below
        the first energy or below the grid, or the energies end below its end.
    """
    energy = np.asarray(energies, dtype=np.float64)
    states = np.asarray(cumulative, dtype=np.float64)
    if energy.ndim != 1 or energy.shape != states.shape or len(energy) < 2:
        raise InputError(f"{name} has a DOS of {len(np.atleast_1d(energy))} energies; it takes at least two.")
    if not (np.isfinite(energy).all() and np.isfinite(states).all()):
        raise InputError(f"{name} has a DOS with a number that is NaN or infinite; repair or remove it.")
    if not (np.diff(energy) > 0).all():
        raise InputError(f"{name} has a DOS whose energies do not ascend; sort it.")
    at_edges = np.interp(grid.edges, energy + offset, states)
    below = at_edges[0]
    if states[0] > LOST:
        raise InputError(
            f"{name} has {states[0]:.4g} electrons below its first energy of {energy[0]:g} eV: the window of the "
            f"calculation cuts them off, not our grid; compute the DOS further down (EMIN in VASP)."
        )
    if below > LOST:
        raise InputError(
            f"{name} has {below:.4g} electrons below the energy grid, which starts at {grid.start:g} eV; start it "
            f"lower or set the offset."
        )
    end = energy[-1] + offset
    if end < grid.stop - 1e-6:
        raise InputError(
            f"{name} has a DOS that ends at {end:.6g} eV, below the end of the energy grid at {grid.stop:g} eV; "
            f"compute it further up, or end the grid earlier."
        )
    return np.diff(at_edges) / grid.width
