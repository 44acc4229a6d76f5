import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import configs
from csgnn_dgl.data import load
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.tasks.classification import ModelNetData
from tests.tolerances import TOLERANCE
from tests.toy_shapes import CLASSES, NUM_POINTS, write_shapes


@pytest.fixture
def data(shapes_folder):
    return ModelNetData(str(shapes_folder), num_points=NUM_POINTS, batch_size=8, validation_fraction=0.25, seed=2)


def test_validation_shapes_are_held_out_of_training_class_by_class(data):
    data.setup("fit")
    assert data.class_names == tuple(CLASSES)
    assert data.num_classes == 3
    assert len(data.train_clouds) + len(data.validation_clouds) == 42
    assert np.bincount(data.validation_clouds.labels).min() >= 3
    every = np.concatenate([data.train_clouds.points, data.validation_clouds.points])
    assert len(np.unique(every.reshape(42, -1), axis=0)) == 42


@pytest.mark.parametrize("source", ["builtin", "folder"])
def test_the_shapes_are_the_same_for_every_seed(source, shapes_folder, monkeypatch):
    read = []
    monkeypatch.setattr(
        "csgnn_dgl.tasks.classification.data.load", lambda *place, **options: read.append((place, options))
    )
    for seed in (1, 2):
        ModelNetData(source, num_points=NUM_POINTS, seed=seed).clouds("test")
    assert read[0] == read[1]
    assert "seed" not in read[0][1]


def test_a_list_of_names_says_what_is_trained_and_validated_on(data, shapes_folder, tmp_path):
    names = data.clouds("train").names[::2]
    (tmp_path / "names.txt").write_text("\n".join(reversed(names)) + "\n")
    options: dict[str, Any] = {"num_points": NUM_POINTS, "batch_size": 8, "validation_fraction": 0.25, "seed": 2}
    part = ModelNetData(str(shapes_folder), train_shapes=str(tmp_path / "names.txt"), **options)
    assert sorted(part.train_clouds.names + part.validation_clouds.names) == sorted(names)
    assert part.description()["train_shapes"] == str(tmp_path / "names.txt")
    with pytest.raises(InputError, match=r"absent.txt: there is no such file"):
        _ = ModelNetData(str(shapes_folder), train_shapes="absent.txt", **options).train_clouds


def test_the_list_of_the_small_table_has_all_classes_in_their_proportions(modelnet40_folder):
    part = ModelNetData(str(modelnet40_folder), train_shapes=str(configs.FOLDER / "modelnet" / "shapes_2560.txt"))
    own = np.bincount(np.concatenate([part.train_clouds.labels, part.validation_clouds.labels]), minlength=40)
    whole = np.bincount(part.clouds("train").labels, minlength=40)
    assert own.sum() == 2560
    assert np.abs(own - whole * 2560 / whole.sum()).max() < 1


def test_training_does_not_read_the_test_split(data, monkeypatch):
    read = []

    def noted(source, split, **options):
        read.append(split)
        return load(source, split, **options)

    monkeypatch.setattr("csgnn_dgl.tasks.classification.data.load", noted)
    data.setup("fit")
    list(data.train_dataloader()), list(data.val_dataloader())
    assert read == ["train"]
    data.setup("test")
    assert read == ["train", "test"]


def test_authors_protocol_validates_on_the_test_split_and_says_so(shapes_folder):
    data = ModelNetData(str(shapes_folder), num_points=NUM_POINTS, batch_size=8, validation="test")
    data.setup("fit")
    np.testing.assert_array_equal(data.validation_clouds.points, data.test_clouds.points)
    assert len(data.train_clouds) == 42
    assert "authors' protocol" in data.description()["validation"]


def test_incomplete_training_batches_are_dropped_and_no_validation_shape_is(data):
    data.setup("fit")
    assert [len(batch["labels"]) for batch in data.train_dataloader()] == [8] * (len(data.train_clouds) // 8)
    index = torch.cat([batch["index"] for batch in data.val_dataloader()])
    assert index.tolist() == list(range(len(data.validation_clouds)))


def test_every_test_view_has_every_shape_once(shapes_folder):
    data = ModelNetData(str(shapes_folder), num_points=NUM_POINTS, batch_size=4, votes=2)
    data.setup("test")
    loaders = data.test_dataloader()
    assert len(loaders) == 4
    for loader in loaders:
        assert torch.cat([batch["index"] for batch in loader]).tolist() == list(range(15))


@pytest.mark.parametrize("rotation", ["none", "z", "SO3"])
def test_all_stages_are_the_same_for_any_number_of_workers(shapes_folder, rotation):
    options = {"batch_size": 8, "train_rotation": rotation, "test_rotations": (rotation,), "votes": 2, "seed": 3}
    stages = []
    for workers in (0, 2):
        data = ModelNetData(str(shapes_folder), num_points=NUM_POINTS, num_workers=workers, **options)
        loaders = [data.train_dataloader(), data.val_dataloader(), *data.test_dataloader()]
        stages.append([list(loader) for loader in loaders])
    for one, other in zip(*stages, strict=True):
        for batch, again in zip(one, other, strict=True):
            assert all(torch.equal(value, again[key]) for key, value in batch.items())
    votes = [torch.cat([batch["points"] for batch in batches]) for batches in stages[0][2:]]
    assert torch.equal(*votes) == (rotation == "none")
    for points in votes:
        torch.testing.assert_close(points.norm(dim=2).amax(dim=1), torch.ones(15), **TOLERANCE[torch.float32])
        torch.testing.assert_close(points.mean(dim=1), torch.zeros(15, 3), **TOLERANCE[torch.float32])


def test_training_asks_for_the_epoch_when_iteration_begins(data, monkeypatch):
    data.setup("fit")
    sampler = data.train_dataloader().sampler
    first = list(sampler)
    assert list(sampler) == first
    monkeypatch.setattr(data, "_epoch", lambda: 1)
    second = list(data.train_dataloader().sampler)
    assert second != first
    assert {getattr(index, "epoch", None) for index in second} == {1}
    assert len(sampler) == len(second) == len(data.train_clouds) // 8 * 8


def test_too_few_shapes_for_one_batch_are_refused(shapes_folder):
    data = ModelNetData(str(shapes_folder), num_points=NUM_POINTS, batch_size=64)
    with pytest.raises(InputError, match=r"training shapes do not fill one batch of 64 .* lower data.batch_size"):
        data.setup("fit")


def test_missing_source_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing-here"):
        ModelNetData(str(tmp_path / "nothing-here")).setup("fit")


@pytest.mark.parametrize("kind", ["csgnn", "kpconv"])
def test_batches_of_one_are_refused_where_the_batch_norm_needs_two(kind, shapes_folder, tmp_path):
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    network = CLASSIFIERS[kind](num_classes=3, **CLASSIFIERS[kind].tiny).train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    torch.set_rng_state(drawn)
    data = ModelNetData(str(shapes_folder), num_points=NUM_POINTS, batch_size=1)
    trainer: Any = SimpleNamespace(lightning_module=SimpleNamespace(network=network), global_rank=0, world_size=1)
    data.trainer = trainer
    if kind == "csgnn":
        with pytest.raises(InputError, match="batch_size is 1, and the batch norm of CSGNN has .* one shape; give"):
            data.setup("fit")
    else:
        data.setup("fit")
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_batch_of_one_is_no_matter_beside_other_processes_or_where_something_else_is_wrong(shapes_folder):
    data = ModelNetData(str(shapes_folder), num_points=NUM_POINTS, batch_size=1)
    network = CLASSIFIERS["csgnn"](num_classes=3, **CLASSIFIERS["csgnn"].tiny)
    trainer: Any = SimpleNamespace(lightning_module=SimpleNamespace(network=network), global_rank=0, world_size=2)
    data.trainer = trainer
    data.setup("fit")  # two processes have two shapes
    trainer.world_size, trainer.lightning_module.network = 1, torch.nn.Linear(5, 5)
    data.setup("fit")


def test_one_class_is_refused(tmp_path):
    source = write_shapes(tmp_path / "data")
    for name in ("rod", "slab"):
        shutil.rmtree(source / name)
    with pytest.raises(InputError, match="all 13 training shapes are of the class 'ball', and there is nothing"):
        ModelNetData(str(source), num_points=NUM_POINTS, batch_size=8).setup("fit")


def test_what_is_tested_on_can_be_read_before_the_training(tmp_path):
    source = write_shapes(tmp_path / "data", num_test=0)
    data = ModelNetData(str(source), num_points=NUM_POINTS, batch_size=8)
    data.setup("fit")
    with pytest.raises(InputError, match="no class has a mesh or point file in test/"):
        data.read_test()
