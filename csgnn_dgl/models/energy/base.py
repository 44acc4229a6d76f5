"""What models of energies share: the energy of a molecule or cell is the sum of what its atoms contribute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models.base import Model, Registry

ENERGY_MODELS: Registry[EnergyModel] = Registry("energy", "model of energies", "csgnn_dgl.models.energy")
"""The models of energies by their names on the command line and in checkpoints."""


class EnergyModel(Model, ABC):
    """A model of the energy of molecules and cells.

    An atom contributes the reference energy of its element, and what `interactions` makes of its environment, times
    `scale`. Both numbers are fitted before the training, and kept in float64.

    Parameters
    ----------
    elements
        Atomic numbers of the elements that the model is for.
    cutoff
        Radius in Å within which the atoms of an environment lie.

    Attributes
    ----------
    elements, cutoff
        As the parameters.
    reference
        (elements,) float64 in eV.
    scale
        () float64 in eV.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    registry = ENERGY_MODELS
    reference: Tensor
    scale: Tensor
    _place: Tensor

    def __init__(self, elements: Sequence[int] = (6,), cutoff: float = 5.0) -> None:
        super().__init__()
        if not elements or len(set(elements)) != len(elements) or not all(1 <= own <= 118 for own in elements):
            raise ValueError(f"elements must be different atomic numbers from 1 to 118, not {elements!r}")
        self.elements, self.cutoff = tuple(elements), float(cutoff)
        self.register_buffer("reference", torch.zeros(len(elements), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        place = torch.full((119,), -1)
        place[list(elements)] = torch.arange(len(elements))
        self.register_buffer("_place", place, persistent=False)

    @abstractmethod
    def interactions(self, environments: Environments, kinds: Tensor) -> Tensor:
        """Return (N,) numbers for the environments of N atoms; `kinds` (N,) int64 are places in `elements`."""

    def atom_energies(self, environments: Environments, numbers: Tensor) -> Tensor:
        """Return what each atom contributes.

        Parameters
        ----------
        environments
            The environments of N atoms, found with the model's cutoff.
        numbers
            (N,) int64 atomic numbers, all in `elements`.

        Returns
        -------
        torch.Tensor
            (N,) float64 in eV.

        Raises
        ------
        ValueError
            If there is another element.
        """
        kinds = self._place[numbers]
        if bool((kinds < 0).any()):
            raise ValueError(f"atomic numbers must be among {self.elements}, not {int(numbers[kinds < 0][0])}")
        return self.scale * self.interactions(environments, kinds).double() + self.reference[kinds]

    def forward(self, environments: Environments, numbers: Tensor, snapshot: Tensor, num_snapshots: int) -> Tensor:
        """Return the energies (num_snapshots,) float64 of snapshots in eV, with `snapshot` (N,) int64 of each atom."""
        energies = self.atom_energies(environments, numbers)
        return energies.new_zeros(num_snapshots).index_add(0, snapshot, energies)

    @torch.no_grad()
    def start_from(self, numbers: Sequence[Tensor], energies: Tensor, scale: float | None = None) -> None:
        """Fit the reference energies to training snapshots by least squares, and set the scale.

        Parameters
        ----------
        numbers
            Atomic numbers (N,) of each of S snapshots.
        energies
            (S,) energies in eV.
        scale
            Root mean square of the forces in eV/Å; by default that of what the references leave of the energies per
            atom in eV.
        """
        counts = torch.stack([torch.bincount(self._place[own], minlength=len(self.elements)) for own in numbers])
        counts, energies = counts.double().cpu(), energies.double().cpu()
        reference = torch.linalg.pinv(counts) @ energies
        left = (energies - counts @ reference) / counts.sum(dim=1)
        self.reference.copy_(reference)
        self.scale.fill_(max(float(left.square().mean().sqrt()) if scale is None else scale, 1e-3))

    @torch.no_grad()
    def calibrate(self, environments: Environments, numbers: Tensor) -> None:
        """Measure, on environments of the training, what the layers have to know before it."""
