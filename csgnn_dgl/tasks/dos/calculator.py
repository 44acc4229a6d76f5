"""A calculator for ase: band energy, Fermi level and DOS of ``ase.Atoms``, and the forces of the band energy."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from csgnn_dgl.data import Snapshot
from csgnn_dgl.electronic import band_energy, filled_up_to
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import NearestVertexMapping
from csgnn_dgl.mapping.forces import forces_of
from csgnn_dgl.tasks.dos.prediction import Model, predict_snapshots, trained_model
from csgnn_dgl.tasks.dos.structures import structures_of


class DOSCalculator(Calculator):
    """Predicted electronic properties of ``ase.Atoms``: ``atoms.calc = csgnn_dgl.DOSCalculator()``.

    ``atoms.get_potential_energy()`` is the **band energy** of the cell (Eq. 4) in eV, and ``atoms.get_forces()`` are
    its negative gradients in eV/Å. The band energy is a part of the total energy only: without the repulsion of the
    ions its forces do not hold a structure together, and are no substitute for those of an interatomic potential.

    The energy is a continuous function of the positions, and the forces are its exact gradients wherever it has any:
    **at every ReLU of the network that switches, the forces jump**. With the shipped weights many do within 1e-3 Å, so
    that central differences in such steps can be off by a good part of the force, and agree in steps of 1e-5 Å.
    Molecular dynamics sees this as noise of the forces: look at its drift, and relax no further than to it.

    Beyond ase's own properties, ``calc.results`` has ``"fermi_level"`` in eV, ``"dos"`` (count,) in states/eV and
    ``"energies"`` (count,) in eV, the centres of its bins. All is computed in float64.

    Parameters
    ----------
    model
        As in :func:`csgnn_dgl.predict_dos`: by default the shipped weights.
    **options
        As in ``ase.calculators.calculator.Calculator``.

    Raises
    ------
    InputError
        On calculating: as :func:`csgnn_dgl.predict_dos`. For forces also if the network maps neighbours to the nearest
        vertices, since its energy jumps where a neighbour goes from one to the next.

    Examples
    --------
    >>> from ase.build import molecule
    >>> atoms = molecule("C60")
    >>> atoms.calc = DOSCalculator()
    >>> atoms.get_forces().shape
    (60, 3)
    """

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def __init__(self, model: Model | None = None, **options: Any) -> None:
        super().__init__(**options)
        trained = trained_model(model)
        self.model = dataclasses.replace(trained, network=copy.deepcopy(trained.network).double())

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Calculate the properties; ase calls this where positions, cell or elements have changed."""
        super().calculate(atoms, properties, system_changes)
        snapshots = structures_of(self.atoms, self.model)
        found = predict_snapshots(self.model, snapshots)[0]
        self.results = {
            "energy": found.band_energy,
            "free_energy": found.band_energy,
            "fermi_level": found.fermi_level,
            "dos": found.dos,
            "energies": found.energies,
        }
        if "forces" in properties:
            self.results["forces"] = self._forces(snapshots[0])

    def _forces(self, item: Snapshot) -> NDArray[np.float64]:
        """Return the negative gradients (N, 3) of the band energy with respect to the positions."""
        network, grid = self.model.network, self.model.grid
        if isinstance(getattr(network, "mapping", None), NearestVertexMapping):
            raise InputError(
                "the network maps neighbours to the nearest vertices, so that its band energy jumps and has no forces; "
                "give one with mapping gaussian, or AGNI"
            )
        device = next(network.parameters()).device
        environments = item.environments(network.cutoff, torch.float64).to(device)
        vectors = environments.vectors.requires_grad_()
        environments = dataclasses.replace(environments, vectors=vectors)
        dos = network(environments, torch.zeros(item.num_atoms, dtype=torch.int64, device=device), 1)
        assert item.num_electrons is not None  # the band energy was there
        electrons = torch.tensor([item.num_electrons / item.num_atoms], dtype=torch.float64, device=device)
        if getattr(network, "is_linear", False):
            dos = filled_up_to(dos[:, :-1], dos[:, -1], electrons, grid)
        energy = item.num_atoms * band_energy(dos, electrons, grid, "top").sum()
        return np.asarray(forces_of(energy, environments).cpu())
