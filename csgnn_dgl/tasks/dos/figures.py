"""Figures of predicted and reference DOS, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from csgnn_dgl.data import Snapshots
from csgnn_dgl.tasks.dos.evaluation import CHEMICAL_ACCURACY, Prediction, band_energies_per_atom
from csgnn_dgl.tasks.dos.invariance import Invariance
from csgnn_dgl.training.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4

LOWEST = 1e-17
"""Where nothing is drawn on a logarithmic axis."""


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
            axes.plot(energies, prediction.dos_per_atom[place].numpy(), linewidth=1.0, label=prediction.name)
        axes.set_title(snapshots[place].structure, fontsize=10)
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
            axes.plot(wanted[own], energies[own], ".", markersize=4, label=prediction.name)
        axes.set_title(structure, fontsize=10)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
    figure.supxlabel("reference band energy (eV/atom)")
    figure.supylabel("predicted band energy (eV/atom)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(predictions))
    return figure


def prediction_figure(
    energies: NDArray[np.float64],
    dos: NDArray[np.float64],
    fermi_level: float,
    title: str,
    reference: NDArray[np.float64] | None = None,
) -> Figure:
    """Draw a predicted DOS with its Fermi level (eV), and the reference if there is one.

    Energies (count,) are the centres of the bins, in eV; `dos` and `reference` (count,) states/eV of the whole cell.
    """
    figure, (axes,) = new_figure(6.4, 3.6)
    if reference is not None:
        axes.fill_between(energies, reference, color="0.8", step="mid", label="reference")
    axes.plot(energies, dos, linewidth=1.2, label="predicted")
    axes.axvline(fermi_level, color="0.3", linestyle="--", linewidth=0.8, label="Fermi level")
    axes.set_xlabel("energy (eV)")
    axes.set_ylabel("DOS (states / eV)")
    axes.set_ylim(bottom=0.0)
    axes.set_title(title, fontsize=10)
    axes.legend()
    return figure


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
