"""Predicting the density of states of atomic structures with a trained model."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from csgnn_dgl.data import Snapshots, check_elements, from_atoms
from csgnn_dgl.data.atoms.records import known_electrons
from csgnn_dgl.electronic import EnergyGrid, band_energy, fermi_level
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models import DOSModel
from csgnn_dgl.tasks.dos.evaluation import predict_atoms, vector_dtype
from csgnn_dgl.tasks.dos.figures import prediction_figure, reference_of
from csgnn_dgl.tasks.dos.trained import TrainedDOS, load_dos_model
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.training.report import table_of

if TYPE_CHECKING:
    from ase import Atoms


@dataclasses.dataclass(frozen=True, eq=False)
class DOSPrediction:
    """The predicted density of states of one structure, and what follows from it.

    Attributes
    ----------
    name
        Name of the structure.
    grid
        The energy bins.
    atom_dos
        (N, count) float64: what each atom contributes, in states/eV.
    num_electrons
        Electrons of the cell, or None where they are unknown.
    """

    name: str
    grid: EnergyGrid
    atom_dos: NDArray[np.float64]
    num_electrons: float | None

    @property
    def energies(self) -> NDArray[np.float64]:
        """(count,) centres of the energy bins, in eV."""
        return self.grid.centres

    @property
    def dos(self) -> NDArray[np.float64]:
        """(count,) DOS of the whole cell, in states/eV."""
        return np.asarray(self.atom_dos.sum(axis=0))

    @property
    def num_atoms(self) -> int:
        """Number of atoms N."""
        return len(self.atom_dos)

    @cached_property
    def fermi_level(self) -> float:
        """Fermi level, in eV; the end of the grid if the DOS holds fewer electrons than there are (`num_states`).

        Raises
        ------
        InputError
            If the number of electrons is unknown; so for `band_energy`.
        """
        electrons = known_electrons(self.num_electrons, self.name)
        return float(fermi_level(torch.from_numpy(self.dos), electrons, self.grid, too_few="top"))

    @cached_property
    def band_energy(self) -> float:
        """Band energy of the cell (Eq. 4), in eV."""
        electrons = known_electrons(self.num_electrons, self.name)
        return float(band_energy(torch.from_numpy(self.dos), electrons, self.grid, too_few="top"))

    @property
    def band_energy_per_atom(self) -> float:
        """Band energy per atom, in eV."""
        return self.band_energy / self.num_atoms

    @property
    def num_states(self) -> float:
        """Number of states on the whole grid."""
        return float(self.dos.sum() * self.grid.width)


Model = TrainedDOS | nn.Module | str | os.PathLike[str]


@overload
def predict_dos(
    atoms: Atoms, model: Model | None = None, valences: Mapping[str, float] | None = None
) -> DOSPrediction: ...
@overload
def predict_dos(
    atoms: Sequence[Atoms], model: Model | None = None, valences: Mapping[str, float] | None = None
) -> list[DOSPrediction]: ...
def predict_dos(
    atoms: Atoms | Sequence[Atoms], model: Model | None = None, valences: Mapping[str, float] | None = None
) -> DOSPrediction | list[DOSPrediction]:
    """Predict the density of states of structures.

    Parameters
    ----------
    atoms
        One ``ase.Atoms`` or several. ``info`` may hold ``num_electrons`` and ``structure``, a name. The Fermi level is
        that of ``num_electrons`` as it stands there, and ase keeps it when atoms are repeated, added or removed: set it
        anew, or remove it. Up to half of the electrons that the valences add up to are refused.
    model
        A checkpoint, a run folder, or what :func:`load_dos_model` returned, by default the shipped weights; or a bare
        network, whose energy bins are then the paper's. It computes on the device that it is on, in evaluation mode.
    valences
        Electrons per atom by chemical symbol, for structures without ``num_electrons``; by default those that the model
        was trained with, else those of the s and p shells.

    Returns
    -------
    DOSPrediction or list of DOSPrediction
        For one structure, or for each of several.

    Raises
    ------
    InputError
        If a structure cannot be used (atoms on top of each other, an element that the model does not know, no cell
        where it is periodic, the electrons of a smaller cell, ...); the message says which.
    """
    if isinstance(model, nn.Module):
        model = TrainedDOS(cast(DOSModel, model))
    elif not isinstance(model, TrainedDOS):
        model = load_dos_model(model)
    results = predict_snapshots(model, from_atoms(atoms, model.grid, valences or model.valences))
    return results[0] if hasattr(atoms, "get_positions") else results


def predict_snapshots(model: TrainedDOS, snapshots: Snapshots) -> list[DOSPrediction]:
    """Predict the density of states of snapshots; see :func:`predict_dos`.

    Parameters
    ----------
    model
        What :func:`load_dos_model` returned.
    snapshots
        Snapshots, with or without DOS.

    Raises
    ------
    InputError
        If a snapshot has an element that the model does not know.
    """
    check_elements(snapshots, model.network.elements)
    # Not kept: there may be more structures than memory for their neighbours.
    environments = (item.environments(model.network.cutoff, vector_dtype(model.network)) for item in snapshots)
    return [
        DOSPrediction(item.structure, model.grid, found.double().numpy(), item.num_electrons)
        for item, found in zip(snapshots, predict_atoms(model.network, environments), strict=True)
    ]


def predictions_table(predictions: Sequence[DOSPrediction]) -> str:
    """Return the predictions' numbers as a table."""
    columns = {
        "structure": "{0.name}",
        "atoms": "{0.num_atoms}",
        "electrons": "{0.num_electrons:g}",
        "Fermi level (eV)": "{0.fermi_level:.4f}",
        "band energy (eV)": "{0.band_energy:.4f}",
        "per atom (eV)": "{0.band_energy_per_atom:.4f}",
    }
    return table_of(predictions, columns)


def write_predictions(folder: Path, predictions: Sequence[DOSPrediction], snapshots: Snapshots, **axes: bool) -> Path:
    """Write predictions into a folder.

    For each structure ``NAME.csv`` has energies (eV) and DOS (states/eV), ``NAME.npz`` the arrays ``energies``
    (count,), ``dos`` (count,) and ``atom_dos`` (N, count), and ``NAME.png`` the figure; NAME is that of the file it
    came from, numbered where there are several. ``predictions.json`` has the Fermi level and energies of all.

    Parameters
    ----------
    folder
        Where to write; made if missing.
    predictions, snapshots
        The predictions, and the snapshots they are for; a DOS that these have is drawn too.
    **axes
        How the figures are drawn: ``from_fermi_level`` and ``per_atom`` of `prediction_figure`.

    Returns
    -------
    Path
        The JSON file.
    """
    levels = [found.fermi_level for found in predictions]  # unknown electrons are refused before anything is written
    stems = [Path(item.source).name.split(".")[0] or "structure" for item in snapshots]
    used: Counter[str] = Counter()
    records = []
    for stem, level, found, item in zip(stems, levels, predictions, snapshots, strict=True):
        name = stem if stems.count(stem) == 1 else f"{stem}-{used[stem]}"
        used[stem] += 1
        with atomic_write(folder / f"{name}.csv") as file:
            table = np.column_stack([found.energies, found.dos])
            np.savetxt(file, table, fmt="%.6g", delimiter=",", header="energy_eV,dos_states_per_eV", comments="")
        with atomic_write(folder / f"{name}.npz") as file:
            np.savez_compressed(file, energies=found.energies, dos=found.dos, atom_dos=found.atom_dos)
        with atomic_write(folder / f"{name}.png") as file:
            reference = reference_of(item)
            figure = prediction_figure(found.grid, found.dos, level, found.name, found.num_atoms, reference, **axes)
            save_figure(figure, file)
        record = {"name": name, "structure": found.name, "source": item.source, "index": item.index}
        measured = ("num_atoms", "num_electrons", "num_states", "fermi_level", "band_energy")
        records.append({**record, **{key: getattr(found, key) for key in measured}})
    target = folder / "predictions.json"
    with atomic_write(target) as file:
        file.write_text(json.dumps(records, indent=1), encoding="utf-8")
    return target
