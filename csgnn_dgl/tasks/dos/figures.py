"""Figures of predicted and reference DOS, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from csgnn_dgl.data import Snapshot, Snapshots
from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.electronic import fermi_level as fermi_level_of
from csgnn_dgl.tasks.dos.evaluation import CHEMICAL_ACCURACY, Prediction, band_energies_per_atom
from csgnn_dgl.tasks.dos.invariance import Invariance
from csgnn_dgl.training.figures import new_figure
from csgnn_dgl.training.lettering import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4

LOWEST = 1e-17
"""Where nothing is drawn on a logarithmic axis."""

FAINT, MARGIN = 0.01, 1.0
"""Share of the largest DOS up to which no states are seen, and what is shown beside those that are, in eV."""


def first_of_each(snapshots: Snapshots) -> list[int]:
    """Return the place of the first snapshot of each structure, in the order of the structures' names."""
    places: dict[str, int] = {}
    for place, structure in enumerate(snapshots.structures):
        places.setdefault(structure, place)
    return [places[structure] for structure in sorted(places)]


def dos_figure(predictions: Sequence[Prediction], snapshots: Snapshots, places: Sequence[int]) -> Figure:
    """Draw the reference DOS of some of S snapshots, a panel for each place, with what was predicted (S, count)."""
    figure, panels = _panels(len(places))
    energies, reference = snapshots.grid.centres, snapshots.dos_per_atom
    for axes, place in zip(panels, places, strict=True):
        axes.fill_between(energies, reference[place], color="0.8", step="mid", label="reference")
        for prediction in predictions:
            axes.plot(energies, prediction.dos_per_atom[place].numpy(), linewidth=1.0, label=label(prediction.name))
        axes.set_title(label(snapshots[place].structure), fontsize=10)
        axes.set_xlim(snapshots.grid.start, snapshots.grid.stop)
        axes.set_ylim(bottom=0.0)
    figure.supxlabel("energy (eV)")
    figure.supylabel("DOS (states / eV / atom)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(predictions) + 1)
    return figure


def parity_figure(predictions: Sequence[Prediction], snapshots: Snapshots) -> Figure:
    """Draw predicted over reference band energies, one panel for each structure, with the chemical accuracy."""
    names = np.array(snapshots.structures)
    structures = sorted(set(snapshots.structures))
    figure, panels = _panels(len(structures))
    wanted = band_energies_per_atom(torch.from_numpy(snapshots.dos_per_atom), snapshots)
    found = [band_energies_per_atom(prediction.dos_per_atom, snapshots) for prediction in predictions]
    for axes, structure in zip(panels, structures, strict=True):
        own = names == structure
        low, high = float(wanted[own].min()), float(wanted[own].max())
        ends = np.array([low, high]) + (high - low + CHEMICAL_ACCURACY) * np.array([-0.1, 0.1])
        axes.plot(ends, ends, color="0.5", linewidth=0.8)
        axes.fill_between(ends, ends - CHEMICAL_ACCURACY, ends + CHEMICAL_ACCURACY, color="0.9")
        for prediction, energies in zip(predictions, found, strict=True):
            axes.plot(wanted[own], energies[own], ".", markersize=4, label=label(prediction.name))
        axes.set_title(label(structure), fontsize=10)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
    figure.supxlabel("reference band energy (eV/atom)")
    figure.supylabel("predicted band energy (eV/atom)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(predictions))
    return figure


def prediction_figure(
    grid: EnergyGrid,
    dos: NDArray[np.float64],
    fermi_level: float | None,
    title: str,
    num_atoms: int,
    reference: tuple[NDArray[np.float64], float] | None = None,
    *,
    from_fermi_level: bool = False,
    per_atom: bool = False,
) -> Figure:
    """Draw a predicted DOS and its Fermi level, with those of the reference if there is one; filled states are shaded.

    The energies shown are those where there are states.

    Parameters
    ----------
    grid
        The energy bins.
    dos
        (count,) predicted states/eV of the whole cell.
    fermi_level
        Its Fermi level, in eV; None where it has no meaning, far outside of the training data.
    title
        Title of the figure.
    num_atoms
        Atoms of the cell.
    reference
        DOS (count,) and Fermi level that were computed by other means.
    from_fermi_level
        Count energies from the predicted Fermi level, instead of from the zero of the training data.
    per_atom
        Show the DOS of an atom, on average, instead of that of the cell.
    """
    figure, (axes,) = new_figure(6.4, 3.6)
    from_fermi_level = from_fermi_level and fermi_level is not None
    zero, unit = (fermi_level or 0.0) if from_fermi_level else 0.0, num_atoms if per_atom else 1
    shown: list[tuple[str, str, NDArray[np.float64], float | None]] = []
    if reference is not None:
        shown.append(("reference", "0.3", *reference))
    shown.append(("predicted", "C0", dos, fermi_level))
    for name, colour, values, level in shown:
        heights, edges = values / unit, grid.edges - zero
        if level is None:
            text = f"{name}, outside of the training data"
            axes.stairs(heights, edges, color=colour, linewidth=1.2, label=text, baseline=None)
            continue
        filled = int(np.clip(np.searchsorted(grid.edges, level), 1, grid.count))
        ends = np.append(edges[:filled], np.clip(level, *grid.edges[filled - 1 : filled + 1]) - zero)
        axes.stairs(heights[:filled], ends, fill=True, color=colour, alpha=0.25, linewidth=0.0)
        text = f"{name}, Fermi level {level:.2f} eV".replace("-", "\N{MINUS SIGN}")
        axes.stairs(heights, edges, color=colour, linewidth=1.2, label=text, baseline=None)
        axes.axvline(level - zero, color=colour, linestyle=":" if name == "reference" else "--", linewidth=1.2)
    low, high = states_between(grid, *(values for *_, values, _ in shown))
    levels = [level for *_, level in shown if level is not None]
    low, high = max(min([low, *levels]) - MARGIN, grid.start), min(max([high, *levels]) + MARGIN, grid.stop)
    axes.set_xlim(low - zero, high - zero)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel(
        "energy − predicted Fermi level (eV)" if from_fermi_level else "energy (eV), zero of the training data"
    )
    axes.set_ylabel("DOS (states / eV / atom)" if per_atom else "DOS (states / eV)")
    axes.set_title(label(title), fontsize=10)
    figure.legend(fontsize=8, loc="outside upper center", ncols=2)
    return figure


def reference_of(snapshot: Snapshot) -> tuple[NDArray[np.float64], float] | None:
    """Return the DOS of a snapshot and the Fermi level that follows from it, or None where it has none."""
    if snapshot.dos is None or snapshot.num_electrons is None:
        return None
    found = fermi_level_of(torch.from_numpy(snapshot.dos), snapshot.num_electrons, snapshot.grid, too_few="top")
    return snapshot.dos, float(found)


def states_between(grid: EnergyGrid, *curves: NDArray[np.float64]) -> tuple[float, float]:
    """Return the energies, in eV, between which one of the DOS is above `FAINT` of its maximum; else the grid's."""
    bins = np.flatnonzero(np.any([values > FAINT * max(values.max(), 0.0) for values in curves], axis=0))
    if len(bins) == 0:
        return grid.start, grid.stop
    return float(grid.edges[bins[0]]), float(grid.edges[bins[-1] + 1])


def invariance_figure(invariance: Invariance) -> Figure:
    """Draw the changes of DOS and band energy over the angle of rotation, with those under other symmetries as lines.

    There is one panel for the relative change of the DOS and one for the change of the band energy in eV/atom. The axes
    are logarithmic; what does not change at all is drawn at `LOWEST`.
    """
    figure, panels = new_figure(9.0, 4.0, columns=2)
    shown = {"dos_per_atom": "relative change of the DOS"}
    shown["band_energy_per_atom"] = "change of the band energy (eV/atom)"
    others = invariance.changes[len(invariance.rotated) + 1 :]
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        values = [(getattr(item, name), getattr(item, f"largest_{name}")) for item in invariance.rotated]
        mean, largest = np.maximum(values, LOWEST).T
        axes.plot(invariance.angles, mean, marker=".", label="random axes, mean")
        axes.plot(invariance.angles, largest, marker=".", linestyle=":", color="C0", label="random axes, largest")
        for number, item in enumerate(others, start=1):
            height = max(getattr(item, f"largest_{name}"), LOWEST)
            axes.axhline(height, color=f"C{number}", linestyle="--", linewidth=1.0, label=f"{item.name}, largest")
        axes.set_yscale("log")
        axes.set_xlabel("angle of rotation (°)")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure, grid = new_figure(3.2 * columns + 0.6, 2.4 * rows + 0.8, rows, columns)
    for unused in grid[count:]:
        unused.remove()
    return figure, grid[:count]
