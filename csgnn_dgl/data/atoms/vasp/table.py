"""From VASP's table of energy, DOS and integrated DOS to the number of states up to each energy.

What VASP's DOS column is depends on how the states are smeared (https://vasp.at/wiki/DOSCAR). With Methfessel-Paxton
and Fermi smearing it is the rise of the integrated DOS over the step that ends there, divided by the step: then the sum
of DOS times step is the integrated DOS, exactly. With tetrahedra it is the DOS at the energy, which a straight line
joins to the next, or better a curve; where its peaks are narrower than the steps, neither counts the electrons. The
integrated DOS always counts them, but in a DOSCAR it has four digits: 12,160 electrons to the nearest ten.

So :func:`states_up_to` takes the DOS column, read in the way that agrees best with the integrated DOS. Both columns are
rounded: by least squares the steps are changed, within what their digits leave open, so that they add up to the
integrated DOS where it has the finer digits, as in a vasprun.xml. Where no reading agrees, the steps are changed most
about which the readings differ most. What the rounding leaves uncertain, the number of electrons at the Fermi level
decides (:meth:`TotalDOS.holding`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

Array = NDArray[np.float64]

FINEST = 1e-7
"""Share of the states below which digits do not count: the far ends of smeared levels have digits of no meaning."""


@dataclass(frozen=True)
class TotalDOS:
    """The states of a calculation.

    Attributes
    ----------
    energies
        (M,) in eV.
    states
        (M,) number of states, of both spins, up to each energy.
    errors
        (M,) how far these may be off, because the numbers in the file are rounded.
    fermi_level
        In eV.
    """

    energies: Array
    states: Array
    errors: Array
    fermi_level: float

    def holding(self, electrons: float | None) -> Array:
        """Return the number of states up to each energy, where it is the number of electrons at the Fermi level.

        They differ by rounding, which alone would move the level from one end of a gap to the other; what differs by
        more than that, or is unknown, is left as it is.
        """
        found, error = (float(np.interp(self.fermi_level, self.energies, each)) for each in (self.states, self.errors))
        if electrons is None or found <= 0 or abs(electrons - found) > error:
            return self.states
        return self.states * (electrons / found)


def total_states(
    values: Array, units: Array, path: Path, places: list[str], window: tuple[float, float] | None = None
) -> tuple[Array, Array, Array]:
    """Return the energies (M,), the number of states, of both spins, up to each of them (M,), and their errors (M,).

    Parameters
    ----------
    values, units
        (M, 3 or 5) energy, DOS per spin and integrated DOS per spin, and the units of their last digits.
    path, places
        The file, and what each row is called in a complaint.
    window
        First and last energy, if they are known to more digits than the table has.

    Raises
    ------
    InputError
        If there are fewer than two rows, or an energy or DOS has overflowed.
    """
    if len(values) < 2:
        raise InputError(f"{path}: the total DOS has {len(values)} energies; it takes at least two.")
    spins = (values.shape[1] - 1) // 2
    stars = np.isinf(units)
    if stars[:, : 1 + spins].any():
        row, column = np.argwhere(stars[:, : 1 + spins])[0]
        raise InputError(
            f"{path}: the {'DOS' if column else 'energy'} in {places[row]} is stars, an overflow: VASP had no room for "
            f"the number; compute again with other EMIN, EMAX or NEDOS."
        )
    if stars.any():
        note(path, "the integrated DOS has overflown (stars), so the states are counted by the DOS alone")
    bad = ~np.isfinite(values) & ~stars
    if bad.any():
        row = int(np.argwhere(bad)[0, 0])
        raise InputError(f"{path}: {places[row]} of the DOS has a number that is NaN or infinite; compute again.")
    energies = _energies(values[:, 0], units[:, 0], window)
    if not (np.diff(energies) > 0).all():
        row = int(np.argmin(np.diff(energies) > 0)) + 1
        raise InputError(f"{path}: the energy in {places[row]} is not above the one before; sort the rows of the DOS.")
    each = [
        states_up_to(energies, *(array[:, column] for column in (s, s + spins) for array in (values, units)))
        for s in range(1, 1 + spins)
    ]
    return energies, np.sum([states for states, _ in each], axis=0), np.sum([error for _, error in each], axis=0)


def _energies(written: Array, units: Array, window: tuple[float, float] | None) -> Array:
    """Return the energies of a window in equal steps, of which the written ones are the rounded values.

    Where they are not, the written ones are returned as they are.
    """
    for first, last in ((window,) if window else ()) + ((written[0], written[-1]),):
        even = np.linspace(first, last, len(written))
        if first < last and (np.abs(even - written) <= 1.01 * units).all():
            return even
    return written


def states_up_to(energies: Array, dos: Array, dos_units: Array, integrated: Array, units: Array) -> tuple[Array, Array]:
    """Return the number of states (M,) of one spin up to each energy, and how far each may be off.

    Parameters
    ----------
    energies
        (M,) energies in eV, ascending.
    dos, integrated
        (M,) states per eV and number of states, as they are written; the latter may be NaN.
    dos_units, units
        (M,) units of the last digits of both.
    """
    step = np.diff(energies)
    known = np.isfinite(integrated)
    finest = FINEST * np.abs(integrated[known]).max(initial=0.0) + 1e-12
    rounding = np.where(known, np.maximum(units / 2, finest), np.inf)
    errors = dos_units[1:] / 2 * step  # of each step
    line = (dos[1:] + dos[:-1]) / 2 * step
    slope = np.gradient(dos, energies)
    # rise over the step before; straight line; cubic curve
    readings = np.stack([dos[1:] * step, line, line - np.diff(slope) * step**2 / 12])
    first = dos[0] * step[0]
    if known[0] and abs(first - integrated[0]) > rounding[0] + errors[0]:
        first = integrated[0]
    sums = np.concatenate([np.full((3, 1), first), first + np.cumsum(readings, axis=1)], axis=1)
    misfits = [np.square((one - integrated)[known] / rounding[known]).sum() for one in sums]
    chosen = int(np.argmin(misfits))
    states = sums[chosen]
    # four standard errors of a sum of rounded numbers
    drift = 4 * np.sqrt(np.append(0.0, np.cumsum(errors**2)) / 3) + finest
    doubt = errors
    if chosen:  # where the DOS is steep, line and curve differ, until it is level again
        drift += np.abs(sums[2] - sums[1])
        doubt = errors + np.abs(readings[2] - readings[1])
    agrees = (np.abs(states - integrated)[known] <= (rounding + drift)[known]).all()
    if not agrees:
        jumps = np.abs(np.diff(integrated) - readings[chosen]) - rounding[1:] - rounding[:-1]
        doubt = errors + np.abs(readings[0] - readings[1]) + np.maximum(np.nan_to_num(jumps, nan=0.0), 0.0)
    # what is rounded more coarsely than the sum may be off would do harm: its errors are the same in many rows
    half = np.where(known, units / 2, np.inf)
    use = np.where(~agrees | (half < drift), half, np.inf)
    use[0] = 0.0  # where the count starts is settled
    states = _balanced(states, doubt, np.append(first, integrated[1:]), use)
    if not agrees:
        states = np.where(known, np.clip(states, integrated - rounding, integrated + rounding), states)
    # a gap stays flat: its corrections are the same
    filled = (np.abs(readings).max(axis=0) > finest / 100) | (np.diff(integrated) != 0)
    run = np.cumsum(np.append(0, filled))
    means = np.bincount(run, states) / np.bincount(run)
    means[0] = states[0]
    states = means[run]
    if (dos >= 0).all():
        states = np.maximum.accumulate(states)
    return states, np.minimum(drift, half + 1e-12) if agrees else rounding


def _balanced(states: Array, doubt: Array, integrated: Array, rounding: Array) -> Array:
    """Change the steps of `states`, each in proportion to its doubt, so that they agree with the integrated DOS.

    Least squares: the corrections c (M,) minimise sum ((states + c - integrated) / rounding)^2 + sum (step of c /
    doubt)^2; the matrix is tridiagonal.
    """
    known = np.isfinite(rounding)
    if not known[1:].any():
        return states
    smallest = 1e-5 * rounding[known].max()
    links = 1 / np.maximum(doubt, smallest) ** 2
    weights = np.where(known, 1 / np.maximum(rounding, smallest) ** 2, 0.0)
    bands = np.zeros((2, len(states)))
    bands[1] = weights
    bands[1, :-1] += links
    bands[1, 1:] += links
    bands[0, 1:] = -links
    gap = np.where(known, integrated - states, 0.0)
    return np.asarray(states + solveh_banded(bands, weights * gap))
