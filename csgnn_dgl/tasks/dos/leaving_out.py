"""One structure left out at a time: what models are worth on structures that their training had not seen."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import csgnn_dgl
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.base import plain
from csgnn_dgl.tasks.dos.data import DOSData
from csgnn_dgl.tasks.dos.task import TASK
from csgnn_dgl.training.report import markdown_table
from csgnn_dgl.training.results import Results
from csgnn_dgl.training.sweep import Entry, Sweep

MEASURES = {
    "band energy (eV/atom)": ("band_energy_mae", "{:.4f}"),
    "Fermi level (eV)": ("fermi_level_mae", "{:.4f}"),
    "DOS RMSE (states/eV/atom)": ("dos_per_atom_rmse", "{:.5f}"),
}
"""Titles of the tables, what stands in them, and formats."""

UNSAFE = re.compile(r"[^\w+.-]")
"""What a name of a structure may hold and that of a folder not."""

MEAN = "mean"
"""Name of the last line of each table."""

LEGEND = (
    "Each model was trained without the structure of the line, in training and validation, and tested on the test "
    "snapshots of that structure: mean absolute errors of band energy and Fermi level, mean error of the DOS. "
    "Overall mean: the mean DOS over the training snapshots of all other structures. The last line is the mean of the "
    "lines above."
)


def structures_to_leave_out(data: DOSData, named: Sequence[str] | None = None) -> list[str]:
    """Return the structures that can be left out: those in training and testing, or those of them that are named.

    Raises
    ------
    InputError
        If a name is none of them, or training has one structure only.
    """
    trained = set(data.all_snapshots("train").structures)
    known = sorted(trained & set(data.all_snapshots("test").structures))
    if len(trained) < 2 or not known:
        raise InputError(
            f"{data.source} has the structures {', '.join(sorted(trained))} in training; leaving one out takes at "
            "least two, and test snapshots of it"
        )
    for name in named or ():
        if name not in known:
            raise InputError(f"{data.source}: {name!r} cannot be left out; name some of {', '.join(known)}")
    return list(dict.fromkeys(named)) if named else known


def entries_of(models: Mapping[str, Mapping[str, Any]], structures: Sequence[str]) -> list[Entry]:
    """Return what is trained and tested: each model without each structure.

    Parameters
    ----------
    models
        Options of the trainings, as for `csgnn_dgl.training.fit`, by the names of the models.
    structures
        What is left out.
    """
    return [
        Entry(
            name=f"{model}-without-{UNSAFE.sub('_', structure)}",
            row=model,
            config={
                **options,
                "task": TASK.name,
                "data": {**options.get("data", {}), "holdout": structure},
                "trainer": {**options.get("trainer", {}), "accelerator": "cpu", "devices": 1},
            },
        )
        for structure in structures
        for model, options in models.items()
    ]


def headline(results: Results) -> str:
    """Say in a few words what a test found."""
    row = results.rows[0]
    return f"band energy {row['band_energy_mae']:.4f} eV/atom, Fermi level {row['fermi_level_mae']:.4f} eV"


@dataclasses.dataclass(frozen=True)
class Line:
    """One model on one structure that its training had not seen.

    Parameters
    ----------
    structure, model
        Their names.
    num_snapshots
        Test snapshots of the structure.
    band_energy_mae, fermi_level_mae, dos_per_atom_rmse, fdos_per_atom_rmse, wasserstein
        Errors, see :class:`~csgnn_dgl.tasks.dos.evaluation.Score`.
    """

    structure: str
    model: str
    num_snapshots: int
    band_energy_mae: float
    fermi_level_mae: float
    dos_per_atom_rmse: float
    fdos_per_atom_rmse: float
    wasserstein: float


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """What is known of the structures that were left out.

    Parameters
    ----------
    lines
        Each model on each structure, as far as they are finished, and the overall mean.
    protocol
        How they came about.
    """

    lines: list[Line]
    protocol: dict[str, Any]

    @classmethod
    def of(cls, sweep: Sweep) -> LeftOut:
        """Collect what is finished in a sweep from the files in its run folders, without the models."""
        lines: dict[tuple[str, str], Line] = {}
        names = [field.name for field in dataclasses.fields(Line)]
        for entry in sweep.entries:
            results = sweep.run(entry).results if sweep.finished(entry) else None
            for place, row in enumerate(results.rows if results is not None else ()):
                structure, model = entry.config["data"]["holdout"], row["name"] if place else entry.row
                measured = {name: row[name] for name in names if name in row}
                lines.setdefault((structure, model), Line(structure, model, **measured))
        last = {entry.row for entry in sweep.entries}
        protocol = {
            **sweep.facts,
            "epochs": ", ".join(f"{name} {epochs}" for name, epochs in sweep.plan["epochs"].items()),
            "processor": ", ".join(sweep.plan["processors"]),
            "version": csgnn_dgl.__version__,
        }
        return cls(sorted(lines.values(), key=lambda line: line.model not in last), protocol)

    def __str__(self) -> str:
        """Return a table for each measure, legend and protocol in Markdown."""
        models = list(dict.fromkeys(line.model for line in self.lines))
        structures = sorted({line.structure for line in self.lines})
        found = {(line.structure, line.model): line for line in self.lines}
        tables = []
        for title, (name, form) in MEASURES.items():
            columns = [
                [
                    getattr(found[key], name) if (key := (structure, model)) in found else None
                    for structure in structures
                ]
                for model in models
            ]
            for column in columns:
                known = [value for value in column if value is not None]
                column.append(statistics.fmean(known) if len(known) == len(column) else None)
            rows = [
                (place, *("–" if value is None else form.format(value) for value in values))
                for place, *values in zip([*structures, MEAN], *columns, strict=True)
            ]
            tables.append(markdown_table((title, *models), rows))
        facts = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in self.protocol.items())
        return "\n\n".join([*tables, LEGEND, f"Protocol: {facts}."])

    def write(self, folder: Path) -> None:
        """Write ``leave_out.json`` and ``leave_out.md`` into a folder."""
        with atomic_write(folder / "leave_out.md") as file:
            file.write_text(f"# Structures left out\n\n{self}\n", encoding="utf-8")
        with atomic_write(folder / "leave_out.json") as file:
            file.write_text(json.dumps(plain(dataclasses.asdict(self)), indent=1), encoding="utf-8")
