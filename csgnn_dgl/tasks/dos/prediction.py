"""Predicting the density of states of atomic structures with a trained model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from csgnn_dgl.data import Snapshots, check_elements
from csgnn_dgl.data.atoms.records import known_electrons
from csgnn_dgl.electronic import EnergyGrid, band_energy, fermi_level
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models import DOSModel
from csgnn_dgl.notes import note
from csgnn_dgl.tasks.dos.domain import FAR
from csgnn_dgl.tasks.dos.evaluation import predict_atoms, vector_dtype
from csgnn_dgl.tasks.dos.structures import Convertible, Path, is_structure, structures_of
from csgnn_dgl.tasks.dos.trained import TrainedDOS, load_dos_model

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
    atom_deviation
        (N,) float64: how far each atom's environment is from the mean of the training, see
        :class:`~csgnn_dgl.tasks.dos.domain.TrainingDomain`; None where that is unknown.
    training_deviation
        The largest one in training.
    """

    name: str
    grid: EnergyGrid
    atom_dos: NDArray[np.float64]
    num_electrons: float | None
    atom_deviation: NDArray[np.float64] | None = None
    training_deviation: float | None = None

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

    @property
    def deviation(self) -> float | None:
        """The largest deviation of an atom's environment, if it is known."""
        return None if self.atom_deviation is None else float(self.atom_deviation.max())

    @property
    def is_outside(self) -> bool:
        """Whether an atom's environment lies outside of the training data; False where that is unknown."""
        return self._beyond(1.0)

    @property
    def is_far_outside(self) -> bool:
        """Whether one lies so far outside (1.5 times the largest deviation) that the prediction has no meaning."""
        return self._beyond(FAR)

    def _beyond(self, factor: float) -> bool:
        if self.deviation is None or self.training_deviation is None:
            return False
        return self.deviation > factor * self.training_deviation

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
    atoms: Atoms | Convertible, model: Model | None = None, valences: Mapping[str, float] | None = None
) -> DOSPrediction: ...
@overload
def predict_dos(
    atoms: Iterable[Atoms | Convertible] | Iterable[Path] | Path,
    model: Model | None = None,
    valences: Mapping[str, float] | None = None,
) -> list[DOSPrediction]: ...
def predict_dos(
    atoms: Any, model: Model | None = None, valences: Mapping[str, float] | None = None
) -> DOSPrediction | list[DOSPrediction]:
    """Predict the density of states of structures.

    Environments that the model was not trained on are told in a note (see `csgnn_dgl.notes`), and by `is_outside` of
    the predictions.

    Parameters
    ----------
    atoms
        One ``ase.Atoms``, pymatgen ``Structure`` or ``Molecule``, or several. ``info`` may hold ``num_electrons``,
        ``charge`` and ``structure``, a name. The Fermi level is that of ``num_electrons`` as it stands there, and ase
        keeps it when atoms are repeated, added or removed: set it anew, or remove it. Up to half of the electrons that
        the valences add up to are refused. Or the path of a file that ase reads or of a VASP
        calculation, or several paths.
    model
        A checkpoint, a run folder, or what :func:`load_dos_model` returned, by default the shipped weights; or a bare
        network, whose energy bins are then the paper's. It computes on the device that it is on, in evaluation mode.
    valences
        Electrons per atom by chemical symbol, for structures without ``num_electrons``; by default those that the model
        was trained with, else those of the s and p shells.

    Returns
    -------
    DOSPrediction or list of DOSPrediction
        For one structure in memory, or for each of several and for each one in files.

    Raises
    ------
    InputError
        If a structure cannot be used (an element that the model does not know, atoms on top of each other, no cell
        where it is periodic, the electrons of a smaller cell, ...); the message says which.
    """
    trained = trained_model(model)
    results = predict_snapshots(trained, structures_of(atoms, trained, valences))
    return results[0] if is_structure(atoms) else results


def trained_model(model: Model | None) -> TrainedDOS:
    """Return a trained model from what :func:`predict_dos` takes for one."""
    if isinstance(model, nn.Module):
        return TrainedDOS(cast(DOSModel, model))
    if model is not None and not isinstance(model, (TrainedDOS, str, os.PathLike)):
        raise InputError(f"model is {model!r}; give a checkpoint, a run folder or what load_dos_model returned")
    return model if isinstance(model, TrainedDOS) else load_dos_model(model)


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
        If a snapshot has an element that the model does not know, or a predicted DOS is not finite.
    """
    check_elements(snapshots, model.network.elements)
    domain, deviations = model.domain, []

    def environments() -> Iterator[Environments]:
        # Not kept: there may be more structures than memory for their neighbours.
        for item in snapshots:
            found = item.environments(model.network.cutoff, vector_dtype(model.network))
            deviations.append(None if domain is None else domain.deviations(found).numpy())
            yield found

    largest = None if domain is None else domain.largest
    electrons = [None if item.num_electrons is None else item.num_electrons / item.num_atoms for item in snapshots]
    atoms = predict_atoms(model.network, environments(), electrons, model.grid)
    dos = [found.double().numpy() for found in atoms]
    for item, found in zip(snapshots, dos, strict=True):
        if not np.isfinite(found).all():
            raise InputError(
                f"{item.name}: the predicted DOS is not finite; the model's numbers overflow, use other weights"
            )
    predictions = [
        DOSPrediction(item.structure, model.grid, found, item.num_electrons, deviation, largest)
        for item, found, deviation in zip(snapshots, dos, deviations, strict=True)
    ]
    _tell_outside(predictions, snapshots)
    return predictions


def _tell_outside(predictions: Sequence[DOSPrediction], snapshots: Snapshots) -> None:
    """Tell in one note which structures lie outside of the training data, if any do."""
    outside = [place for place, found in enumerate(predictions) if found.is_outside]
    if not outside:
        return
    farthest = max(outside, key=lambda place: predictions[place].deviation or 0.0)
    found = predictions[farthest]
    others = f" (as {len(outside)} of {len(predictions)} structures are)" if len(outside) > 1 else ""
    meaning = "mean nothing" if found.is_far_outside else "are to be doubted"
    note(
        snapshots[farthest].name,
        f"outside of the training data{others}: environments deviate by up to {found.deviation:.1f} standard "
        f"deviations, and in training by {found.training_deviation:.1f}, so that its DOS, Fermi level and band energy "
        f"{meaning}",
    )
