import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from csgnn_dgl.data import EpochIndex, Snapshots, load_snapshots
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import Environments, find_environments
from csgnn_dgl.tasks.atoms import batch_environments
from csgnn_dgl.tasks.dos import DOSData
from csgnn_dgl.tasks.dos.data import SnapshotDataset
from tests.tolerances import ROUNDED, TOLERANCE
from tests.toy_snapshots import STRUCTURES, write_snapshots


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(write_snapshots(tmp_path_factory.mktemp("snapshots") / "data"))


@pytest.fixture(scope="module")
def snapshots(source):
    return load_snapshots(source, "train")


def test_a_batch_has_the_environments_of_its_snapshots_and_no_padding(snapshots):
    chosen = [14, 0, 7]
    batch = SnapshotDataset(snapshots).__getitems__(chosen)
    items = [snapshots[i] for i in chosen]
    expected = Environments.join([find_environments(item.positions, item.cell, item.pbc) for item in items])
    found = batch_environments(batch)
    assert torch.equal(found.vectors, expected.vectors)
    assert torch.equal(found.centre, expected.centre)
    assert torch.equal(found.neighbour, expected.neighbour)
    assert len(found) == len(expected) == sum(item.num_atoms for item in items)
    assert batch["snapshot"].tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert batch["index"].tolist() == chosen
    assert batch["electrons_per_atom"].tolist() == [4.0, 4.0, 4.0]
    for row, item in zip(batch["dos_per_atom"], items, strict=True):
        assert np.allclose(row.numpy() * item.num_atoms, item.dos, **ROUNDED)
    assert {key: value.dtype for key, value in batch.items() if value.is_floating_point()} == {
        "vectors": torch.float32,
        "dos_per_atom": torch.float32,
        "electrons_per_atom": torch.float64,
    }


def test_rotations_are_drawn_from_seed_epoch_and_index(snapshots):
    plain, turned = SnapshotDataset(snapshots), SnapshotDataset(snapshots, rotation="SO3", seed=3)
    batch = turned.__getitems__([EpochIndex(2, 4), EpochIndex(13, 4)])
    again = turned.__getitems__([EpochIndex(13, 4)])
    count = len(again["vectors"])
    assert torch.equal(batch["vectors"][-count:], again["vectors"])
    assert not torch.equal(again["vectors"], turned.__getitems__([EpochIndex(13, 5)])["vectors"])
    other = SnapshotDataset(snapshots, rotation="SO3", seed=4)
    assert not torch.equal(again["vectors"], other.__getitems__([EpochIndex(13, 4)])["vectors"])
    # a rotation, independently: the quaternion of the same stream
    w, x, y, z = (q := np.random.default_rng([3, 4, 13]).normal(size=4)) / np.linalg.norm(q)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = torch.from_numpy(np.eye(3) + 2 * w * cross + 2 * cross @ cross).float()
    straight = plain.environments(13).vectors
    torch.testing.assert_close(again["vectors"], straight @ matrix.T, **TOLERANCE[torch.float32])


def test_snapshots_without_electrons_are_refused(snapshots):
    unknown = Snapshots((*snapshots, dataclasses.replace(snapshots[0], num_electrons=None)))
    with pytest.raises(InputError, match="snapshot 0 has no num_electrons, which Fermi level and band energy need"):
        SnapshotDataset(unknown)


def test_single_snapshots_can_be_asked_for(snapshots):
    dataset = SnapshotDataset(snapshots)
    assert torch.equal(dataset[3]["vectors"], dataset.__getitems__([3])["vectors"])
    with pytest.raises(IndexError, match="index 15 is out of range for 15 samples"):
        dataset[15]


def batches(data):
    return [batch["index"].tolist() for batch in data.train_dataloader()]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_depends_on_the_seed_only(source, workers):
    data = DOSData(source, batch_size=4, seed=1, num_workers=workers)
    found = batches(data)
    assert found == batches(DOSData(source, batch_size=4, seed=1))
    assert found != batches(DOSData(source, batch_size=4, seed=2))
    assert [len(batch) for batch in found] == [4, 4, 4]  # 15 snapshots, the incomplete batch is dropped
    assert [batch["index"].tolist() for batch in data.val_dataloader()] == [[0, 1, 2, 3], [4, 5]]
    assert sum(len(batch["index"]) for batch in data.test_dataloader()) == 9


def test_each_batch_has_its_share_of_every_structure(source):
    data = DOSData(source, batch_size=3, seed=1)
    structures = data.snapshots("train").structures
    for batch in batches(data):
        assert sorted(structures[index] for index in batch) == sorted(STRUCTURES)


def test_training_is_turned_and_testing_is_not(source):
    data = DOSData(source, batch_size=3, train_rotation="SO3")
    assert data.dataset("train").rotation == "SO3"
    assert data.dataset("val").rotation == data.dataset("test").rotation == "none"


def test_a_structure_can_be_held_out(source):
    data = DOSData(source, holdout="dimer")
    assert set(data.snapshots("train").structures) == set(data.snapshots("val").structures) == {"chain", "square"}
    assert data.snapshots("test").structures == ("dimer",) * 3
    assert data.reading()["holdout"] == data.description()["holdout"] == "dimer"
    with pytest.raises(InputError, match="data.holdout is 'cube'; name one of the structures chain, dimer, square"):
        DOSData(source, holdout="cube").setup("fit")


def test_nothing_may_be_left_without_the_structure(tmp_path):
    source = write_snapshots(tmp_path / "data", 1, 1, 1)
    frames = (source / "train.extxyz").read_text().splitlines(keepends=True)
    (source / "train.extxyz").write_text("".join(frames[:5]))  # the chain alone
    with pytest.raises(InputError, match="without 'chain' no snapshots are left in 'train'"):
        DOSData(str(source), holdout="chain").snapshots("train")


def test_a_fraction_is_evenly_spaced_in_each_structure(source):
    data = DOSData(source, fraction=0.4)
    assert data.snapshots("train").structures == tuple(name for name in STRUCTURES for _ in range(2))
    assert [item.index for item in data.snapshots("train")] == [0, 2, 5, 7, 10, 12]
    assert len(data.snapshots("val")) == 3
    assert len(data.snapshots("test")) == 9
    assert len(data.all_snapshots("train")) == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"num_workers": -1}, "data.num_workers is -1"),
        ({"fraction": 0.0}, "data.fraction is 0.0"),
        ({"fraction": 1.5}, "data.fraction is 1.5"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        DOSData(**options)


def test_too_few_snapshots_for_a_batch_are_refused(source):
    with pytest.raises(InputError, match="15 training snapshots do not fill one batch of 32"):
        DOSData(source).setup("fit")


def test_a_batch_of_one_atom_is_refused_before_training_and_one_of_one_molecule_is_not(tmp_path, build_dos):
    source = write_snapshots(tmp_path / "data")
    trainer, model, data, folder = build_dos(data={"source": str(source), "batch_size": 1}, max_epochs=1)
    trainer.fit(model, data)
    assert folder.run.last.is_file()
    lone = Atoms("C", [[0, 0, 0]])
    lone.info.update(structure="atom", num_electrons=4, dos=np.full(310, 4.4 / 31))
    write(source / "train.extxyz", [lone], format="extxyz", append=True)
    trainer, model, data, folder = build_dos(name="two", data={"source": str(source), "batch_size": 1})
    with pytest.raises(InputError, match="batch_size is 1, and the batch norm of AGNI .* batch of one atom; give at"):
        trainer.fit(model, data)
    assert not (tmp_path / "runs" / "two").exists()


def test_what_is_tested_on_can_be_read_before_the_training(tmp_path):
    source = write_snapshots(tmp_path / "data")
    (source / "test.extxyz").unlink()
    data = DOSData(str(source), batch_size=4)
    data.setup("fit")
    with pytest.raises(InputError, match="test"):
        data.read_test()


@pytest.mark.parametrize("name", ["train.extxyz", "train.xyz.gz", "Train.csv", "train/diamond/DOSCAR"])
def test_training_data_are_found_in_every_form_and_may_be_missing(tmp_path, name):
    data = DOSData(source=str(tmp_path))
    assert data.known_snapshots() is None
    (tmp_path / "test.extxyz").touch()
    (tmp_path / "training.extxyz").touch()
    assert data.known_snapshots() is None
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    with pytest.raises(InputError):  # they are there, and broken
        data.known_snapshots()


def test_a_calculation_has_nothing_to_train_on(tmp_path):
    (tmp_path / "DOSCAR").touch()
    assert DOSData(source=str(tmp_path)).known_snapshots() is None
    assert DOSData(source=str(tmp_path / "DOSCAR")).known_snapshots() is None
