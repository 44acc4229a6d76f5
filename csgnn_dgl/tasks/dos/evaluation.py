"""What a model of the DOS is worth: Table 2 of the paper, and errors of the Fermi level and of the DOS itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl.data import Snapshots
from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid, band_energy_per_atom, dos_errors, filled_up_to
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models import DOSModel, StructureMean
from csgnn_dgl.models.dos.base import FeatureModel, LinearOutput

CHEMICAL_ACCURACY = 0.043
"""1 kcal/mol, in eV: the accuracy per atom that Table 2 counts structures by."""

MEAN_ROW = "training mean"
"""Name of the row that predicts each structure's mean over the training snapshots."""

OVERALL_ROW = "overall mean"
"""Its name where training had none of the structures: it predicts the mean over all training snapshots then."""

EITHER_ROW = "training or overall mean"
"""Its name where training had some of the structures."""

BATCH_ATOMS = 2048
"""Atoms that are predicted at a time."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The DOS that one model predicts for a set of snapshots.

    Parameters
    ----------
    name
        What the model is called in tables and figures.
    dos_per_atom
        (S, count) states per eV and atom, on the CPU.
    num_parameters
        Number of trained parameters, if it has any.
    """

    name: str
    dos_per_atom: Tensor
    num_parameters: int | None = None


@dataclasses.dataclass(frozen=True)
class StructureScore:
    """Mean absolute error of the band energy, in eV/atom, over the snapshots of one structure."""

    structure: str
    num_snapshots: int
    band_energy_mae: float


@dataclasses.dataclass(frozen=True)
class Score:
    """How well one prediction meets the reference; all errors are means over the snapshots.

    Parameters
    ----------
    name, num_parameters
        As in `Prediction`.
    num_snapshots
        Snapshots compared.
    band_energy_mae
        Mean absolute error of the band energy (Eq. 4), in eV/atom.
    fermi_level_mae
        Mean absolute error of the Fermi level, in eV.
    dos_per_atom_rmse, fdos_per_atom_rmse
        Root mean square error over the grid of the DOS, in states/(eV atom), and of the FDOS, in states/atom.
    wasserstein
        Wasserstein distance of the normalised DOS, in eV.
    structures_within, snapshots_within
        Structures whose mean error, and snapshots whose error of the band energy is within `CHEMICAL_ACCURACY`.
    structures
        The error of each structure, in the order of their names.
    """

    name: str
    num_parameters: int | None
    num_snapshots: int
    band_energy_mae: float
    fermi_level_mae: float
    dos_per_atom_rmse: float
    fdos_per_atom_rmse: float
    wasserstein: float
    structures_within: int
    snapshots_within: int
    structures: tuple[StructureScore, ...]


def score(prediction: Prediction, snapshots: Snapshots) -> Score:
    """Compare a prediction with the reference DOS of its snapshots.

    Fermi level and band energy of both come from their DOS by the same functions. A prediction that holds fewer
    electrons on the grid than there are has its Fermi level at the end of the grid.

    Parameters
    ----------
    prediction
        DOS (S, count) per atom.
    snapshots
        The S snapshots.

    Raises
    ------
    InputError
        If a predicted DOS is empty or not finite.
    """
    atoms = torch.from_numpy(snapshots.num_atoms)
    whole = prediction.dos_per_atom.double() * atoms[:, None]
    electrons, reference = torch.from_numpy(snapshots.num_electrons), torch.from_numpy(snapshots.dos)
    usable = whole.isfinite().all(dim=1) & (whole.sum(dim=1) > 0)
    if not usable.all():
        name = snapshots[int((~usable).nonzero()[0])].name
        raise InputError(
            f"{prediction.name} predicts a DOS for {name} that is empty or not finite; train it for longer"
        )
    errors = dos_errors(whole, reference, electrons, atoms, snapshots.grid)
    band = errors.band_energy_per_atom.abs()
    names = np.array(snapshots.structures)
    structures = []
    for structure in np.unique(names):
        own = band[torch.from_numpy(names == structure)]
        structures.append(StructureScore(str(structure), len(own), float(own.mean())))
    return Score(
        name=prediction.name,
        num_parameters=prediction.num_parameters,
        num_snapshots=len(snapshots),
        band_energy_mae=float(band.mean()),
        fermi_level_mae=float(errors.fermi_level.abs().mean()),
        dos_per_atom_rmse=float(errors.dos_per_atom.mean()),
        fdos_per_atom_rmse=float(errors.fdos_per_atom.mean()),
        wasserstein=float(errors.wasserstein.mean()),
        structures_within=sum(item.band_energy_mae <= CHEMICAL_ACCURACY for item in structures),
        snapshots_within=int((band <= CHEMICAL_ACCURACY).sum()),
        structures=tuple(structures),
    )


def band_energies_per_atom(dos_per_atom: Tensor, snapshots: Snapshots) -> NDArray[np.float64]:
    """Return the band energies (S,), in eV/atom, of some snapshots from their DOS per atom (S, count)."""
    atoms = torch.from_numpy(snapshots.num_atoms)
    electrons = torch.from_numpy(snapshots.num_electrons)
    whole = dos_per_atom.double() * atoms[:, None]
    return band_energy_per_atom(whole, electrons, atoms, snapshots.grid, too_few="top").numpy()


def mean_prediction(train: Snapshots, snapshots: Snapshots) -> Prediction:
    """Predict for each snapshot the mean DOS per atom of the training snapshots of its structure, or else of all."""
    asked, known = set(snapshots.structures), set(train.structures)
    name = MEAN_ROW if asked <= known else EITHER_ROW if asked & known else OVERALL_ROW
    return Prediction(name, torch.as_tensor(StructureMean().fit(train).predict(snapshots)))


def predict_atoms(
    network: DOSModel,
    environments: Iterable[Environments],
    electrons_per_atom: Iterable[float | None] = (),
    grid: EnergyGrid = PAPER_GRID,
) -> Iterator[Tensor]:
    """Predict what each atom contributes to the DOS, one snapshot after the other.

    Some snapshots are computed together, which changes nothing in a network in evaluation mode but its last digits. The
    environments are those of the atoms of each snapshot, found with the network's cutoff. What a network with a linear
    output predicts is filled up to its Fermi level, where the electrons per atom of a snapshot are given
    (:func:`csgnn_dgl.electronic.filled_up_to`); all atoms have an equal part in that.

    Yields
    ------
    torch.Tensor
        (N, count) states per eV of each of the N atoms of a snapshot, on the CPU; float64 from a network of that or
        with a linear output, else float32.
    """
    device = next(network.parameters()).device
    electrons = iter(electrons_per_atom)

    def together(parts: list[Environments]) -> Iterable[Tensor]:
        joined, sizes = Environments.join(parts).to(device), [len(part) for part in parts]
        with torch.no_grad():
            if not (isinstance(network, FeatureModel) and isinstance(network.output, LinearOutput)):
                return network.atom_dos(joined).cpu().split(sizes)
            found = network.output.with_level(network.atom_features(joined)).cpu().double().split(sizes)
            return [filled(rows, next(electrons, None)) for rows in found]

    def filled(rows: Tensor, count: float | None) -> Tensor:
        mean = rows.mean(dim=0, keepdim=True)
        known = mean.new_tensor([float("nan") if count is None else count])
        return rows[:, :-1] + (filled_up_to(mean[:, :-1], mean[:, -1], known, grid) - mean[:, :-1])

    waiting: list[Environments] = []
    for part in environments:
        waiting.append(part)
        if sum(map(len, waiting)) >= BATCH_ATOMS:
            yield from together(waiting)
            waiting = []
    if waiting:
        yield from together(waiting)


def vector_dtype(network: DOSModel) -> torch.dtype:
    """Return the dtype of the vectors for a network: float64 for one of float64, else float32."""
    return torch.float64 if next(network.parameters()).dtype == torch.float64 else torch.float32


def predict(name: str, network: DOSModel, snapshots: Snapshots) -> Prediction:
    """Predict the DOS per atom of snapshots; see `predict_atoms`."""
    environments = snapshots.environments(network.cutoff, vector_dtype(network))
    electrons = [None if item.num_electrons is None else item.num_electrons / item.num_atoms for item in snapshots]
    found = predict_atoms(network, environments, electrons, snapshots.grid)
    dos_per_atom = torch.stack([atoms.mean(dim=0) for atoms in found])
    return Prediction(name, dos_per_atom, count_parameters(network))


def count_parameters(network: torch.nn.Module) -> int:
    """Count the trained parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
