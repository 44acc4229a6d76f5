"""A calculator for ase: energy of ``ase.Atoms`` and forces on them."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes

from csgnn_dgl.data.atoms.energies import bare_structures
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.forces import forces_of
from csgnn_dgl.models import EnergyModel
from csgnn_dgl.models.base import Place


class EnergyCalculator(Calculator):
    """Predicted energy and forces of ``ase.Atoms``: ``atoms.calc = csgnn_dgl.EnergyCalculator("runs/energy/quick")``.

    The forces are the exact gradients of the energy, so that dynamics keeps it; ``atoms.get_potential_energies()`` are
    the contributions of the atoms. All is computed in float64. There is no stress.

    Parameters
    ----------
    model
        A checkpoint or run folder of ``python -m pipelines.energy``, or a model.
    **options
        As in ``ase.calculators.calculator.Calculator``.

    Raises
    ------
    InputError
        If `model` is none; on calculating, if the structure cannot be used or has an element that the model was not
        trained on, or the answer is not finite.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from csgnn_dgl.models import CSGNNEnergy
    >>> atoms = molecule("C60")
    >>> atoms.calc = EnergyCalculator(CSGNNEnergy())
    >>> atoms.get_forces().shape
    (60, 3)
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces"]  # noqa: RUF012

    def __init__(self, model: EnergyModel | Place, **options: Any) -> None:
        super().__init__(**options)
        network = model if isinstance(model, EnergyModel) else EnergyModel.from_checkpoint(model)
        self.network = copy.deepcopy(network).double().eval()

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Calculate all properties; ase calls this where positions, cell or elements have changed."""
        super().calculate(atoms, properties, system_changes)
        given: Any = self.atoms
        snapshots = bare_structures([given], elements=self.network.elements)
        device = self.network.reference.device
        environments = snapshots[0].environments(self.network.cutoff, torch.float64).to(device)
        environments = dataclasses.replace(environments, vectors=environments.vectors.requires_grad_())
        with torch.enable_grad():
            energies = self.network.atom_energies(environments, torch.from_numpy(snapshots[0].numbers).to(device))
            forces = forces_of(energies, environments).cpu().numpy()
        energies = energies.detach().cpu()
        energy = float(energies.sum())
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise InputError(f"{snapshots[0].name}: the predicted energy is not finite; use other weights")
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": energies.numpy(),
            "forces": forces,
        }
