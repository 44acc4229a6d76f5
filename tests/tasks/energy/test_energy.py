"""Energies and forces: built-in data against ase's own potential, the calculator, and a training as a user runs it."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

from csgnn_dgl import EnergyCalculator
from csgnn_dgl.data import from_atoms
from csgnn_dgl.data.atoms.energies import with_tersoff
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosahedral_rotations
from csgnn_dgl.models import CSGNNEnergy
from pipelines.energy import main
from tests.tolerances import EXACT, NUMERIC, ROUNDED, TOLERANCE, approx

CLOSE = TOLERANCE[torch.float64]


def shaken(atoms: Atoms, seed: int = 0) -> Atoms:
    atoms.rattle(0.08, seed=seed)
    return atoms


def diamond(seed: int = 0) -> Atoms:
    return shaken(bulk("C", "diamond", 3.567, cubic=True), seed)


def calculator() -> EnergyCalculator:
    torch.manual_seed(1)
    model = CSGNNEnergy(**CSGNNEnergy.tiny, cutoff=3.0)
    known = from_atoms([diamond()])[0]
    model.calibrate(known.environments(3.0), torch.from_numpy(known.numbers))
    torch.nn.init.normal_(model.output.weight, std=0.3)
    return EnergyCalculator(model)


def test_the_built_in_energies_are_those_of_ases_tersoff() -> None:
    tersoff = pytest.importorskip("ase.calculators.tersoff")  # which wants two bonds at every atom
    names = ["m", "gamma", "lambda3", "c", "d", "h", "n", "beta", "lambda2", "B", "R", "D", "lambda1", "A"]
    values = 3, 1, 0, 38049.0, 4.3484, -0.57058, 0.72751, 1.5724e-7, 2.2119, 346.74, 1.95, 0.15, 3.4879, 1393.6
    parameters = tersoff.TersoffParameters(**dict(zip(names, values, strict=True)))
    several = [diamond(), shaken(Atoms("C3", [[0, 0, 0], [0, 0, 1.95], [0, 1.2, 0.9]]))]
    found: Any = with_tersoff(from_atoms(several))
    for atoms, energy, forces in zip(several, found.energies, found.forces, strict=True):
        atoms.calc = tersoff.Tersoff({("C", "C", "C"): parameters})
        np.testing.assert_allclose(energy, atoms.get_potential_energy(), **NUMERIC)
        np.testing.assert_allclose(forces, atoms.get_forces(), **NUMERIC)


def test_forces_are_the_difference_quotients_of_the_energy_and_turn_with_the_atoms() -> None:
    atoms = diamond()
    atoms.info["num_electrons"] = 32  # which ase keeps where it repeats atoms
    atoms.calc = calculator()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert np.abs(forces).max() > 0.1
    np.testing.assert_allclose(atoms.get_potential_energies().sum(), energy, **EXACT)
    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        above, below = atoms.copy(), atoms.copy()
        above.positions[atom, axis] += 1e-4
        below.positions[atom, axis] -= 1e-4
        ends = [EnergyCalculator(atoms.calc.network).get_potential_energy(own) for own in (above, below)]
        assert (ends[1] - ends[0]) / 2e-4 == approx(forces[atom, axis], **NUMERIC)
    moved = atoms.copy()
    rotation = icosahedral_rotations()[17]
    moved.set_cell(atoms.cell.array @ rotation.T)
    moved.positions = (atoms.positions + np.array([0.3, -1.0, 20.0])) @ rotation.T
    moved.calc = atoms.calc
    np.testing.assert_allclose(moved.get_potential_energy(), energy, **CLOSE)
    np.testing.assert_allclose(moved.get_forces(), forces @ rotation.T, **CLOSE)
    double = atoms.copy().repeat((2, 1, 1))
    double.calc = atoms.calc
    np.testing.assert_allclose(double.get_potential_energy(), 2 * energy, **CLOSE)


def test_dynamics_keeps_the_energy() -> None:
    atoms = bulk("C", "diamond", 3.567)
    atoms.calc = calculator()
    atoms.set_velocities(np.random.default_rng(0).normal(0, 0.05, (2, 3)))
    before, kinetic = atoms.get_total_energy(), atoms.get_kinetic_energy()
    VelocityVerlet(atoms, 0.1 * units.fs).run(30)
    assert abs(atoms.get_kinetic_energy() - kinetic) > 1e-4
    assert abs(atoms.get_total_energy() - before) < 1e-2 * abs(atoms.get_kinetic_energy() - kinetic)


def data(folder, forces: bool = True) -> str:
    """Write small carbon structures with the energies of a spring per pair, the last of each file without forces."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        several = []
        for number in range(count):
            atoms = Atoms("C3", [[0, 0, 0], [0, 0, 1.4], [0, 1.3, 0.2]])
            atoms.positions += rng.normal(0, 0.05, (3, 3))
            apart = atoms.positions[:, None] - atoms.positions
            distance = np.linalg.norm(apart, axis=2) + np.eye(3)
            pull = -2 * ((distance - 1.4) / distance * (1 - np.eye(3)))[..., None] * apart
            known = {"energy": ((distance - 1.4) ** 2 * (1 - np.eye(3))).sum() / 2 - 15}
            if forces and number < count - 1:
                known["forces"] = pull.sum(axis=1)
            atoms.calc = SinglePointCalculator(atoms, **known)
            several.append(atoms)
        write(folder / f"{split}.extxyz", several)
    return str(folder)


SMALL = ["fit", "--config", "configs/energy/quick.yaml", "--trainer.accelerator", "cpu", "--data.batch_size", "2"]
SMALL += ["--data.fraction", "1", "--trainer.max_epochs", "2"]
SMALL += [f"--model.network.init_args.{key}={value}" for key, value in CSGNNEnergy.tiny.items()]


@pytest.mark.parametrize("forces", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_train_test_and_predict(forces, tmp_path, capsys) -> None:
    source = data(tmp_path / "data", forces)
    assert main([*SMALL, "--data.source", source, "--runs", str(tmp_path), "--name", "tiny"]) == 0
    rows = json.loads((tmp_path / "tiny" / "results.json").read_text())["rows"]
    assert [row["rotation"] for row in rows] == ["none", "SO3", "none"] and rows[2]["name"] == "references alone"
    assert (rows[0]["forces_mae"] is not None) == forces and (tmp_path / "tiny" / "parity.png").is_file()
    true = np.array([atoms.get_potential_energy() for atoms in read(f"{source}/test.extxyz", ":")]) / 3
    mean = np.mean([atoms.get_potential_energy() for atoms in read(f"{source}/train.extxyz", ":")]) / 3
    assert rows[2]["energy_mae"] == approx(np.abs(true - mean).mean(), **ROUNDED)
    capsys.readouterr()
    file, made = f"{source}/test.extxyz", tmp_path / "out.extxyz"
    assert main(["predict", file, "--ckpt_path", str(tmp_path / "tiny"), "--output", str(made)]) == 0
    predicted: Any = read(made, ":")
    first: Any = read(file, 0)
    first.calc = EnergyCalculator(tmp_path / "tiny")
    assert predicted[0].get_potential_energy() == approx(first.get_potential_energy(), **ROUNDED)
    np.testing.assert_allclose(predicted[0].get_forces(), first.get_forces(), **ROUNDED)
    errors = [atoms.get_potential_energy() / 3 for atoms in predicted] - true
    assert rows[0]["energy_mae"] == approx(np.abs(errors).mean(), **TOLERANCE[torch.float32])
    assert f"{predicted[1].get_potential_energy():.4f}" in capsys.readouterr().out
    write(tmp_path / "water.xyz", molecule("H2O"))
    assert main(["predict", str(tmp_path / "water.xyz"), "--ckpt_path", str(tmp_path / "tiny")]) == 2
    assert "contains H, but the model knows C only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.fraction", "2"], "data.fraction is 2"),
        (["--data.batch_size", "99"], "do not fill one batch of 99"),
        (["--data.source", "nowhere"], "one file train.extxyz"),
        (["--model.force_weight", "-1"], "force_weight is -1"),
        (["--trainer.precision", "bf16-true"], "energies have three digits"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(words, message, tmp_path, capsys) -> None:
    source = data(tmp_path / "data")
    assert main([*SMALL, "--data.source", source, "--runs", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_structures_without_energy_and_other_elements_are_refused() -> None:
    from csgnn_dgl.data.atoms.energies import with_energies

    with pytest.raises(InputError, match="snapshot 0 has no energy"):
        with_energies([diamond()])
    bad = diamond()
    bad.calc = SinglePointCalculator(bad, energy=float("nan"))
    with pytest.raises(InputError, match="NaN or infinite"):
        with_energies([bad])
    water = molecule("H2O")
    water.calc = calculator()
    with pytest.raises(InputError, match="contains [OH], but the model knows C only"):
        water.get_potential_energy()
