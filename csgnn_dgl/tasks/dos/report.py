"""Results of models of the DOS as tables, as JSON and as figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csgnn_dgl.data import Snapshots
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.base import FORMAT, plain
from csgnn_dgl.tasks.dos.evaluation import CHEMICAL_ACCURACY, DOSScore, Prediction
from csgnn_dgl.tasks.dos.figures import dos_figure, first_of_each, invariance_figure, parity_figure
from csgnn_dgl.tasks.dos.invariance import DOSInvariance
from csgnn_dgl.training.report import markdown_table

LEGEND = (
    f"Band energy: mean absolute error. Within: structures by their mean error, and snapshots, up to "
    f"{CHEMICAL_ACCURACY} eV/atom. Training mean: each structure's mean DOS over the training snapshots, the row to "
    "beat. DOS (states/eV/atom), FDOS (states/atom) and Wasserstein distance: means of the snapshots' errors."
)
INVARIANCE_LEGEND = (
    "How much the predictions for {} test snapshots change, though the true DOS does not: mean and largest value of "
    "‖D(x') - D(x)‖ / ‖D(x)‖ of the DOS D per atom, and of the absolute changes of band energy and Fermi level, over "
    "all copies x' ({} at each angle, about random axes). Any rotation: uniform on SO(3)."
)


def dos_tables(scores: Sequence[DOSScore]) -> str:
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
    spectra = [
        (
            item.name,
            f"{item.fermi_level_mae:.4f}",
            f"{item.dos_per_atom_rmse:.5f}",
            f"{item.fdos_per_atom_rmse:.5f}",
            f"{item.wasserstein:.5f}",
        )
        for item in scores
    ]
    by_structure = [
        (structure.structure, *(f"{item.structures[place].band_energy_mae:.4f}" for item in scores))
        for place, structure in enumerate(scores[0].structures)
    ]
    names = [item.name for item in scores]
    tables = (
        markdown_table(
            ("model", "parameters", "band energy (eV/atom)", "structures within", "snapshots within"), overall
        ),
        markdown_table(("band energy (eV/atom)", *names), by_structure),
        markdown_table(("model", "Fermi level (eV)", "DOS RMSE", "FDOS RMSE", "Wasserstein (eV)"), spectra),
    )
    return "\n\n".join(tables)


def invariance_table(invariance: DOSInvariance) -> str:
    """Return the changes as a Markdown table that also reads well in a terminal, with a legend."""
    head = (
        *("transformation", "DOS", "largest", "band energy (eV/atom)", "largest"),
        *("Fermi level (eV)", "largest"),
    )
    rows = []
    for item in invariance.changes:
        values = (
            *(
                item.dos_per_atom,
                item.largest_dos_per_atom,
                item.band_energy_per_atom,
                item.largest_band_energy_per_atom,
            ),
            *(item.fermi_level, item.largest_fermi_level),
        )
        rows.append((item.name, *(f"{value:.1e}" for value in values)))
    legend = INVARIANCE_LEGEND.format(invariance.num_snapshots, invariance.any_rotation.num_copies)
    return f"{markdown_table(head, rows)}\n\n{legend}"


def write_dos_results(
    folder: Path,
    scores: Sequence[DOSScore],
    predictions: Sequence[Prediction],
    snapshots: Snapshots,
    facts: Mapping[str, Any],
    invariance: DOSInvariance | None = None,
) -> Path:
    """Write ``results.json``, ``results.md``, ``dos.png``, ``parity.png`` and perhaps ``invariance.png`` into a folder.

    Parameters
    ----------
    folder
        Where to write; made if missing.
    scores
        What `csgnn_dgl.tasks.dos.evaluation.score_dos` returned for each prediction.
    predictions
        The predictions, of the same names.
    snapshots
        The snapshots.
    facts
        How the results came about (checkpoints, data source, seeds, ...): plain values, which are listed under the
        tables and stored under ``"facts"``.
    invariance
        How much the predictions change under symmetries, where it was measured.

    Returns
    -------
    Path
        The JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "dos.png": dos_figure(predictions, snapshots, first_of_each(snapshots)),
        "parity.png": parity_figure(predictions, snapshots),
    }
    if invariance is not None:
        figures["invariance.png"] = invariance_figure(invariance)
    for name, figure in figures.items():
        with atomic_write(folder / name) as file:
            figure.savefig(file, dpi=110)
    lines = ["# Test results", "", dos_tables(scores), "", LEGEND, ""]
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in plain(facts).items()]
    lines += ["", "![DOS of one snapshot of each structure](dos.png)", ""]
    lines += ["![Band energies; grey: chemical accuracy](parity.png)", ""]
    if invariance is not None:
        lines += ["## Invariance", "", invariance_table(invariance), ""]
        lines += ["![Changes over the angle of rotation](invariance.png)", ""]
    with atomic_write(folder / "results.md") as file:
        file.write_text("\n".join(lines), encoding="utf-8")
    document = {"format": FORMAT, "facts": plain(facts), "results": [item.as_dict() for item in scores]}
    if invariance is not None:
        document["invariance"] = plain(dataclasses.asdict(invariance))
    target = folder / "results.json"
    with atomic_write(target) as file:
        file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return target
