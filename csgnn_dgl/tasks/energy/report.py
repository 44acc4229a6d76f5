"""Test results of models of energies as a table and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.energy.module import EnergyModule, pairs
from csgnn_dgl.training.report import Section, markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEGEND = (
    "Mean absolute errors, of forces over their components. SO3: every structure turned by a random rotation. "
    "References alone: the mean energy of each element in training, by least squares, and no forces: the row to beat."
)


def report(tested: Mapping[str, EnergyModule]) -> Section:
    """Return what tested modules are worth, by the names of their models.

    Raises
    ------
    InputError
        If they were not tested on the same snapshots.
    """
    (first, one), *others = tested.items()
    for name, module in others:
        if not np.array_equal(module.answered.energies, one.answered.energies):
            raise InputError(f"{name} was tested on other snapshots than {first}; compare runs on the same data")
    scores = [
        dataclasses.replace(item, name=name) if item is not module.scores[-1] else item
        for name, module in tested.items()
        for item in module.scores
    ]
    rows = [
        (
            item.name,
            item.rotation,
            str(item.num_snapshots),
            f"{item.energy_mae:.5f}",
            "–" if item.forces_mae is None else f"{item.forces_mae:.4f}",
        )
        for item in scores
    ]
    head = ("model", "test rotation", "structures", "energy (eV/atom)", "forces (eV/Å)")
    figures = {"parity.png": ("Predicted against true energies and forces", parity_figure(tested))}
    return Section(markdown_table(head, rows), [dataclasses.asdict(item) for item in scores], LEGEND, figures=figures)


def parity_figure(tested: Mapping[str, EnergyModule]) -> Figure:
    """Draw predicted over true energies per atom and, where they are known, components of forces."""
    from matplotlib.figure import Figure

    found = {name: pairs(module.found[0], module.answered) for name, module in tested.items()}
    atoms = next(iter(tested.values())).answered.snapshots.num_atoms
    drawn = [
        ("energy (eV/atom)", {name: [np.asarray(own) / atoms for own in both] for name, (both, _) in found.items()})
    ]
    forces = {name: [np.asarray(own) for own in both] for name, (_, both) in found.items() if both is not None}
    drawn += [("force (eV/Å)", forces)] if forces else []
    figure = Figure(figsize=(4.2 * len(drawn), 4.2), layout="constrained")
    for axes, (title, points) in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn, strict=True):
        for name, (predicted, true) in points.items():
            axes.plot(true, predicted, ".", markersize=3, alpha=0.5, markeredgewidth=0, rasterized=True, label=name)
        shown = np.concatenate([own for both in points.values() for own in both])
        axes.plot(*[[shown.min(), shown.max()]] * 2, color="0.4", linewidth=0.8, zorder=0)
        axes.set_xlabel(f"true {title}")
        axes.set_ylabel(f"predicted {title}")
        axes.set_box_aspect(1)
        axes.locator_params(nbins=5)
    figure.axes[0].legend(markerscale=3)
    return figure
