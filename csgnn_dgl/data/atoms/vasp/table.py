"""From VASP's table of energy, DOS and integrated DOS to the number of states up to each energy.

What VASP's DOS column is depends on how the states are smeared (https://vasp.at/wiki/DOSCAR). With Methfessel-Paxton
and Fermi smearing it is the rise of the integrated DOS over the step that ends there, divided by the step: then the sum
of DOS times step is the integrated DOS, exactly. With tetrahedra it is the DOS at the energy, which a straight line
joins to the next; where its peaks are narrower than the steps, neither sum counts the electrons. The integrated DOS
always counts them, but in a DOSCAR it has four digits: 12,160 electrons to the nearest ten.

So :func:`states_up_to` takes the DOS column, read in the way that agrees better with the integrated DOS, where it
agrees with all of the integrated DOS within its last digit. Where it does not, the steps are mended by least squares,
those most about which the two readings differ most, until both columns are met. In a gap the number of states is an
integer, because every band below holds one electron of a spin: what the rounding of the DOS has taken from it or added
to it is given back to the bands below.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

Array = NDArray[np.float64]

FEW = 1e-7
"""A step with fewer electrons is in a gap."""


@dataclass(frozen=True)
class TotalDOS:
    """Energies (M,) in eV, the number of states (M,) up to each of them, and the Fermi level in eV."""

    energies: Array
    states: Array
    fermi_level: float


def total_states(
    values: Array, units: Array, path: Path, places: list[str], window: tuple[float, float] | None = None
) -> tuple[Array, Array]:
    """Return the energies (M,) and the number of states (M,), of both spins, up to each of them.

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
    each = [
        states_up_to(energies, *(array[:, column] for column in (s, s + spins) for array in (values, units)))
        for s in range(1, 1 + spins)
    ]
    return energies, np.sum(each, axis=0)


def _energies(written: Array, units: Array, window: tuple[float, float] | None) -> Array:
    """Return the energies of a window in equal steps, of which the written ones are the rounded values.

    Where they are not, the written ones are returned as they are.
    """
    for first, last in ((window,) if window else ()) + ((written[0], written[-1]),):
        even = np.linspace(first, last, len(written))
        if first < last and (np.abs(even - written) <= 1.01 * units).all():
            return even
    return written


def states_up_to(energies: Array, dos: Array, dos_units: Array, integrated: Array, units: Array) -> Array:
    """Return the number of states (M,) of one spin up to each energy.

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
    rounding = np.where(known, units / 2, np.inf) + 1e-12
    errors = dos_units[1:] / 2 * step  # of each step
    readings = np.stack([dos[1:], (dos[1:] + dos[:-1]) / 2]) * step  # rise over the step, straight line
    first = dos[0] * step[0]
    if known[0] and abs(first - integrated[0]) > rounding[0] + errors[0]:
        first = integrated[0]
    sums = np.concatenate([np.full((2, 1), first), first + np.cumsum(readings, axis=1)], axis=1)
    misfits = [np.mean(((one[known] - integrated[known]) / rounding[known]) ** 2) if known.any() else 0 for one in sums]
    states = sums[int(misfits[1] < misfits[0])]
    # four standard errors of a sum of rounded numbers
    drift = 4 * np.sqrt(np.append(0.0, np.cumsum(errors**2)) / 3)
    gap = np.where(known, np.abs(states - integrated), 0.0)
    if (gap > rounding + drift).any():
        states = _mended(states, np.abs(readings[0] - readings[1]) + errors, integrated, rounding)
        if (dos >= 0).all():
            states = np.maximum.accumulate(states)
        drift = rounding
    return _whole_in_gaps(states, np.abs(dos) * np.append(step[0], step) < FEW, drift)


def _mended(states: Array, doubt: Array, integrated: Array, rounding: Array) -> Array:
    """Change the steps of `states`, each in proportion to its doubt, so that they agree with the integrated DOS.

    Least squares: the corrections c (M,) minimise sum ((states + c - integrated) / rounding)^2 + sum (step of c /
    doubt)^2; the matrix is tridiagonal.
    """
    largest = rounding[np.isfinite(rounding)].max()
    links = 1 / np.maximum(doubt, 1e-5 * largest) ** 2
    weights = 1 / np.maximum(rounding, 1e-5 * largest) ** 2
    bands = np.zeros((2, len(states)))
    bands[1] = weights
    bands[1, :-1] += links
    bands[1, 1:] += links
    bands[0, 1:] = -links
    target = np.where(weights > 0, integrated, 0.0)
    found = states + solveh_banded(bands, weights * (target - np.where(weights > 0, states, 0.0)))
    return np.where(weights > 0, np.clip(found, target - rounding, target + rounding), found)


def _whole_in_gaps(states: Array, empty: NDArray[np.bool_], error: Array) -> Array:
    """Make the number of states in gaps an integer where it is one but for its error; bands share the change."""
    whole = np.round(states)
    near = np.abs(whole - states) <= np.minimum(error, 0.25)
    gap = near & (whole > 0) & np.append(empty[:-1] & empty[1:], False)
    if not gap.any():
        return states
    counts, inverse = np.unique(whole[gap], return_inverse=True)
    found = np.bincount(inverse, states[gap]) / np.bincount(inverse)
    mended = states + np.interp(states, np.append(0.0, found), np.append(0.0, counts - found))
    return np.where(empty & near & np.isin(whole, counts), whole, mended)
