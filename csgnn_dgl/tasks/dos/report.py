"""Test results of models of the DOS as tables and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

from csgnn_dgl.models import DOSModel
from csgnn_dgl.notes import note
from csgnn_dgl.tasks.dos.comparison import side_by_side
from csgnn_dgl.tasks.dos.evaluation import CHEMICAL_ACCURACY, Score, score
from csgnn_dgl.tasks.dos.figures import dos_figure, first_of_each, invariance_figure, parity_figure
from csgnn_dgl.tasks.dos.invariance import Invariance, measure_invariance
from csgnn_dgl.tasks.dos.module import DOSModule
from csgnn_dgl.training.report import Section, markdown_table, table_of

LEGEND = (
    f"Band energy: mean absolute error. Within: structures by their mean error, and snapshots, up to "
    f"{CHEMICAL_ACCURACY} eV/atom. Training mean: each structure's mean DOS over the training snapshots, the row to "
    "beat; overall mean: that over all of them, for structures that are not among them. DOS (states/eV/atom), FDOS "
    "(states/atom) and Wasserstein distance: means of the snapshots' errors."
)
INVARIANCE_LEGEND = (
    "How much the predictions for {} test snapshots change, though the true DOS does not: mean and largest value of "
    "‖D(x') - D(x)‖ / ‖D(x)‖ of the DOS D per atom, and of the absolute changes of band energy and Fermi level, over "
    "all copies x' ({} at each angle, about random axes). Any rotation: uniform on SO(3)."
)


def report(tested: Mapping[str, DOSModule]) -> Section:
    """Return what tested modules are worth, by the names of their models, beside the means of the training."""
    predictions, snapshots = side_by_side(tested)
    first = next(iter(tested.values()))
    if len(first.predictions) == 1:
        note(first.data.source, "has no training snapshots, so that their mean, the row to beat, is left out")
    scores = [score(prediction, snapshots) for prediction in predictions]
    drawn = dos_figure(predictions, snapshots, first_of_each(snapshots))
    figures = {"dos.png": ("DOS of one snapshot of each structure", drawn)}
    figures["parity.png"] = ("Band energies; grey: chemical accuracy", parity_figure(predictions, snapshots))
    return Section(tables(scores), [dataclasses.asdict(item) for item in scores], LEGEND, figures=figures)


def invariance_report(module: DOSModule) -> Section:
    """Measure how much the predictions for 16 test snapshots change where the true DOS does not."""
    invariance = measure_invariance(cast(DOSModel, module.network).to(module.device), module.snapshots)
    return Section(
        title="Invariance",
        table=invariance_table(invariance),
        legend=INVARIANCE_LEGEND.format(invariance.num_snapshots, invariance.any_rotation.num_copies),
        values=dataclasses.asdict(invariance),
        figures={"invariance.png": ("Changes over the angle of rotation", invariance_figure(invariance))},
    )


def tables(scores: Sequence[Score]) -> str:
    """Return the scores as Markdown tables that also read well in a terminal.

    The first is Table 2a with the measures that no paper prints, the second has the band energy by structure.
    """
    overall = [
        (
            item.name,
            "–" if item.num_parameters is None else f"{item.num_parameters:,}",
            f"{item.band_energy_mae:.4f}",
            f"{item.structures_within} of {len(item.structures)}",
            f"{item.snapshots_within} of {item.num_snapshots}",
        )
        for item in scores
    ]
    spectra = {
        "model": "{0.name}",
        "Fermi level (eV)": "{0.fermi_level_mae:.4f}",
        "DOS RMSE": "{0.dos_per_atom_rmse:.5f}",
        "FDOS RMSE": "{0.fdos_per_atom_rmse:.5f}",
        "Wasserstein (eV)": "{0.wasserstein:.5f}",
    }
    by_structure = [
        (structure.structure, *(f"{item.structures[place].band_energy_mae:.4f}" for item in scores))
        for place, structure in enumerate(scores[0].structures)
    ]
    head = ("model", "parameters", "band energy (eV/atom)", "structures within", "snapshots within")
    second = markdown_table(("band energy (eV/atom)", *(item.name for item in scores)), by_structure)
    return f"{markdown_table(head, overall)}\n\n{second}\n\n{table_of(scores, spectra)}"


def invariance_table(invariance: Invariance) -> str:
    """Return the changes as a table."""
    head = ("transformation", *("DOS", "largest"), *("band energy (eV/atom)", "largest"), "Fermi level (eV)", "largest")
    rows = [(item.name, *(f"{value:.1e}" for value in dataclasses.astuple(item)[2:])) for item in invariance.changes]
    return markdown_table(head, rows)
