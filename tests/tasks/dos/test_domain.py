"""What is told of environments that a model was not trained on."""

import shutil

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, nanotube

import csgnn_dgl
from csgnn_dgl.data import carbon_snapshots, from_atoms
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import find_environments
from csgnn_dgl.models.dos.agni import AGNIFingerprint
from csgnn_dgl.tasks.dos import load_dos_model
from csgnn_dgl.tasks.dos.domain import FAR, SMALLEST_DEVIATION, TrainingDomain
from tests.tolerances import NUMERIC, ROUNDED, approx, printed
from tests.toy_snapshots import NETWORKS, STRUCTURES, toy_atoms

LONE = Atoms("C", [[0, 0, 0]])
DIAMOND = bulk("C", "diamond", 3.567)


def toys(*bonds):
    return from_atoms([toy_atoms(name, bond) for name in STRUCTURES for bond in bonds])


def test_deviations_are_those_of_the_standardised_fingerprints():
    snapshots = toys(1.3, 1.35, 1.44)
    table = snapshots.environments(5.0)
    domain = TrainingDomain.of(table, 5.0)
    features = torch.cat([AGNIFingerprint(18, 5.0)(part) for part in table]).numpy()
    scale = np.maximum(features.std(axis=0), SMALLEST_DEVIATION)
    expected = np.abs((features - features.mean(axis=0)) / scale).max(axis=1)
    found = torch.cat([domain.deviations(part) for part in table])
    np.testing.assert_allclose(found.numpy(), expected, **NUMERIC)
    assert domain.largest == approx(expected.max(), **NUMERIC)
    restored = TrainingDomain.restored(domain.stored())
    assert torch.equal(restored.deviations(table[4]), domain.deviations(table[4]))


def test_rotations_and_the_order_of_atoms_change_no_deviation():
    domain = TrainingDomain.of(toys(1.3, 1.4).environments(7.0), 7.0)
    atoms = toy_atoms("square", 1.37)
    straight = domain.deviations(find_environments(atoms.positions))
    atoms.rotate(37, "x")
    atoms.rotate(21, "z")
    torch.testing.assert_close(domain.deviations(find_environments(atoms.positions)), straight, **ROUNDED)
    mixed = domain.deviations(find_environments(atoms.positions[[2, 0, 3, 1]]))
    torch.testing.assert_close(mixed, straight[[2, 0, 3, 1]], **ROUNDED)


def test_roundings_of_an_ideal_crystal_are_not_outside():
    """All its environments are the same: what they deviate by are roundings."""
    crystal = from_atoms(DIAMOND)
    domain = TrainingDomain.of(crystal.environments(7.0), 7.0)
    moved = DIAMOND.copy()
    moved.rotate(31, (1, 2, 3), rotate_cell=True)
    assert domain.largest == 1.0
    assert float(domain.deviations(from_atoms(moved)[0].environments(7.0)).max()) < 1
    assert float(domain.deviations(from_atoms(LONE)[0].environments(7.0)).max()) > FAR


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_training_leaves_in_the_checkpoint_what_its_environments_were_like(build_dos, kind):
    trainer, module, data, folder = build_dos(kind, max_epochs=1, data={"fraction": 0.6})
    trainer.fit(module, datamodule=data)
    model = load_dos_model(folder.run.path)
    cutoff = model.network.cutoff
    expected = TrainingDomain.of(data.snapshots("train").environments(cutoff), cutoff)
    assert model.domain is not None
    assert model.domain.stored().keys() == expected.stored().keys()
    assert torch.equal(model.domain.mean, expected.mean) and torch.equal(model.domain.scale, expected.scale)
    assert (model.domain.cutoff, model.domain.largest) == (cutoff, expected.largest)
    for found in csgnn_dgl.predict_dos([toy_atoms(name, 1.4) for name in STRUCTURES], model):
        assert not found.is_far_outside
    assert csgnn_dgl.predict_dos(DIAMOND, model).is_far_outside


def test_the_shipped_weights_know_carbon_near_equilibrium_and_tell_the_rest(caplog):
    model = load_dos_model()
    assert model.domain is not None
    train = carbon_snapshots("train").subset(range(0, 1280, 80))
    for part in train.environments(7.0):
        assert float(model.domain.deviations(part).max()) <= model.domain.largest
    assert model.domain.largest == approx(7.8, **printed(1))
    (tube,) = csgnn_dgl.predict_dos([nanotube(3, 3, bond=1.42)], model)
    assert tube.deviation == approx(4.1, **printed(1)) and not tube.is_outside
    assert not caplog.messages
    diamond, lone = csgnn_dgl.predict_dos([DIAMOND, LONE], model)
    assert diamond.deviation == approx(20.5, **printed(1)) and diamond.is_far_outside
    assert lone.deviation == approx(34.5, **printed(1)) and lone.is_far_outside
    assert lone.training_deviation == model.domain.largest
    (told,) = caplog.messages
    assert told.startswith("atoms: snapshot 1: outside of the training data (as 2 of 2 structures are): environments")
    assert "up to 34.5 standard deviations, and in training by 7.8" in told
    assert told.endswith("so that its DOS, Fermi level and band energy mean nothing")


def test_an_atom_far_from_a_good_structure_is_found(caplog):
    """The deviations are those of each atom."""
    tube = nanotube(6, 4, bond=1.42)
    tube.positions[7] *= [1.25, 1.25, 1.0]  # pulled out of the wall
    found = csgnn_dgl.predict_dos(tube)
    assert found.atom_deviation.shape == (len(tube),)
    assert int(found.atom_deviation.argmax()) == 7
    assert found.is_outside and len(caplog.messages) == 1
    assert (found.atom_deviation > found.training_deviation).sum() < 20


def test_older_checkpoints_load_and_say_what_they_do_not_know(build_dos, tmp_path, caplog):
    trainer, module, data, folder = build_dos(max_epochs=1)
    trainer.fit(module, datamodule=data)
    file = shutil.copy(folder.run.best, tmp_path / "old.ckpt")
    checkpoint = torch.load(file, weights_only=True)
    domain = checkpoint.pop("environments")
    torch.save(checkpoint, file)
    caplog.clear()
    model = load_dos_model(file)
    (told,) = caplog.messages
    assert "old.ckpt: does not say what it was trained on" in told
    found = csgnn_dgl.predict_dos(LONE, model)
    assert (found.deviation, found.is_outside, found.is_far_outside) == (None, False, False)
    for wrong in ({**domain, "mean": torch.zeros(3)}, {"mean": domain["mean"]}, 3):
        torch.save({**checkpoint, "environments": wrong}, file)
        with pytest.raises(InputError, match="old.ckpt has environments of another form"):
            load_dos_model(file)
