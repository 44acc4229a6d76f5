"""The calculator for ase: its numbers are those of the prediction, its forces those of finite differences."""

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces

import csgnn_dgl
from csgnn_dgl.data import load_snapshots
from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.dos import TrainedDOS
from csgnn_dgl.tasks.dos.calculator import DOSCalculator
from tests.models.dos.molecules import CELL, PERIODIC, positions, small
from tests.tolerances import GRADCHECK, NUMERIC, TOLERANCE, approx

KINDS: dict[str, dict[str, Any]] = {
    "agni": {},
    "schnet": {},
    "csgnn": {"mapping": "gaussian", "frame": "bonds", "output": "linear", "level": 1},
}


def crystal() -> Atoms:
    """Four atoms in a cell that is smaller than the cutoff, and as few electrons as the small models have states."""
    atoms = Atoms("C4", positions(4, 3), cell=CELL, pbc=PERIODIC)
    atoms.info["num_electrons"] = 9.0
    return atoms


def trained(kind: str, **changes: Any) -> TrainedDOS:
    model = small(kind, **{**KINDS[kind], **changes})
    return TrainedDOS(model, EnergyGrid(-4.0, 1.0, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_forces_are_the_gradients_of_the_band_energy(kind):
    atoms = crystal()
    atoms.calc = DOSCalculator(trained(kind))
    forces = atoms.get_forces()
    assert abs(forces).max() > 1e-3
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-4), **GRADCHECK)
    np.testing.assert_allclose(forces.sum(axis=0), np.zeros(3), **TOLERANCE[torch.float64])


def test_energy_level_and_dos_are_those_of_the_prediction():
    atoms, model = crystal(), trained("csgnn")
    atoms.calc = DOSCalculator(model)
    energy, found = atoms.get_potential_energy(), csgnn_dgl.predict_dos(crystal(), model)
    assert energy == approx(found.band_energy, **NUMERIC)
    assert atoms.calc.results["fermi_level"] == approx(found.fermi_level, **NUMERIC)
    np.testing.assert_allclose(atoms.calc.results["dos"], found.dos, **NUMERIC)
    assert found.dos.min() >= -TOLERANCE[torch.float64]["atol"]  # the sum over the atoms rounds
    assert found.atom_dos.min() < 0


def test_the_energy_of_the_shipped_weights_does_not_jump():
    snapshots = load_snapshots("builtin", "test")
    item = snapshots[snapshots.structures.index("C20")]
    atoms = Atoms(numbers=item.numbers, positions=item.positions, info={"num_electrons": item.num_electrons})
    atoms.calc = DOSCalculator()
    start, direction, step, energies = atoms.positions.copy(), np.array([0.6, 0.0, 0.8]), 1e-3, []
    for place in range(-5, 6):
        atoms.positions[3] = start[3] + place * step * direction
        energies.append(atoms.get_potential_energy())
    # Slopes change by some 60 eV/Å², and by more where ReLUs switch between two steps; a jump by 1 meV would be 1000.
    assert abs(np.diff(energies, 2)).max() < 1000 * step**2


def test_a_mapping_that_jumps_has_no_forces():
    atoms = crystal()
    atoms.calc = DOSCalculator(trained("csgnn", mapping="nearest"))
    assert np.isfinite(atoms.get_potential_energy())
    with pytest.raises(InputError, match="nearest vertices"):
        atoms.get_forces()
