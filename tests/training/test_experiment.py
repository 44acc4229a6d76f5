"""Training, testing and comparing from Python, without a command line."""

import json
import shutil
import sys

import lightning.pytorch as L
import pytest
import torch
import yaml
from torch import nn

from csgnn_dgl.errors import InputError
from csgnn_dgl.training import Results, Run, compare, evaluate, fit
from csgnn_dgl.training.experiment import Interrupted
from tests.tiny_training import assert_same_weights
from tests.tolerances import ROUNDED, approx
from tests.toy_shapes import NETWORK, NUM_POINTS
from tests.toy_snapshots import AGNI_CONFIG


class PointNet(nn.Module):
    """A network from outside of the package."""

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.points, self.classes = nn.Linear(3, width), nn.Linear(width, num_classes)

    def forward(self, points):
        return self.classes(self.points(points).relu().amax(dim=1))


class Wrong(PointNet):
    """Gives one class too many."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes + 1)


def own(kind):
    return {"model": {"network": {"class_path": f"{__name__}.{kind.__name__}"}}}


@pytest.fixture
def config(shapes_folder, tmp_path):
    """A config file of a training that takes a second."""
    content = {
        "task": "classification",
        "model": {"network": {"class_path": "csgnn_dgl.models.CSGNN", "init_args": NETWORK}, "learning_rate": 1e-2},
        "data": {"source": str(shapes_folder), "num_points": NUM_POINTS, "batch_size": 8},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "runs": str(tmp_path / "runs"),
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_training_is_a_run_and_a_test_its_results(config, tmp_path, capfd):
    run = fit(config, model={"weight_decay": 0.0}, trainer={"max_epochs": 1})
    assert run == Run(tmp_path / "runs" / "tiny")
    assert (run.config["model"]["weight_decay"], run.config["model"]["learning_rate"]) == (0.0, 1e-2)
    assert len(run.history) == 1 and not (run.path / "results.json").exists()
    results = evaluate(run, data={"votes": 2})
    assert [(row["name"], row["rotation"], row["votes"]) for row in results.rows] == [
        *(("csgnn", "z", 1), ("csgnn", "z", 2)),
        *(("csgnn", "SO3", 1), ("csgnn", "SO3", 2)),
    ]
    stored = run.results
    assert stored is not None and stored.rows == results.rows
    assert results.models["csgnn"]["epochs_trained"] == 1
    measured = evaluate(run.best, split="validation")
    assert measured.details["validation/loss"] == approx(run.history[0]["validation/loss"], **ROUNDED)
    assert measured.rows[0]["accuracy"] == approx(run.history[0]["validation/accuracy"], **ROUNDED)
    assert sorted(path.name for path in run.path.glob("test-*")) == []
    assert capfd.readouterr() == ("", "")


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(config):
    whole = fit(config)
    part = fit(config, trainer={"max_epochs": 1}, name="part")
    assert fit(resume=part, trainer={"max_epochs": 2}) == part
    assert_same_weights(*(torch.load(run.last, weights_only=True)["state_dict"] for run in (whole, part)))


def test_a_sweep_is_a_loop_and_a_table(config, tmp_path):
    """Nested options instead of a file, a network from outside, and one of the package."""
    content = yaml.safe_load(config.read_text())
    runs = [
        fit([content, more], name=name, trainer={"max_epochs": 1}) for name, more in (("a", {}), ("b", own(PointNet)))
    ]
    table = compare(runs, output=tmp_path / "out")
    assert [(row["name"], row["rotation"]) for row in table.rows] == [
        ("a", "z"),
        ("a", "SO3"),
        ("b", "z"),
        ("b", "SO3"),
    ]
    assert "| a     | z " in str(table)
    assert table.models["b"]["model"] == f"{__name__}.PointNet"
    assert table.models["b"]["config"] == {"num_classes": 3, "width": 8}
    alone = evaluate(runs[1])
    assert [row["accuracy"] for row in alone.rows] == [row["accuracy"] for row in table.rows[2:]]
    assert Results.read(tmp_path / "out" / "results.json").rows == json.loads(json.dumps(table.rows))
    with pytest.raises(InputError, match="a is there twice"):
        compare([runs[0], runs[0].best])


def test_snapshots_of_a_comparison_are_read_once(snapshots_folder, tmp_path, monkeypatch):
    content = {
        "model": {"network": {"class_path": "csgnn_dgl.models.AGNI", "init_args": AGNI_CONFIG}},
        "data": {"source": snapshots_folder, "batch_size": 5},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    runs = [fit(content, task="dos", runs=str(tmp_path), name=name) for name in "ab"]
    read = []
    module = sys.modules["csgnn_dgl.tasks.dos.data"]
    load = module.load_snapshots

    def noted(source, split, *others):
        read.append(split)
        return load(source, split, *others)

    monkeypatch.setattr(module, "load_snapshots", noted)
    table = compare(runs)
    assert [row["name"] for row in table.rows] == ["a", "b", "training mean"]
    assert sorted(read) == ["test", "train"]


def test_what_cannot_be_used_is_refused_in_one_sentence(config, shapes_folder):
    with pytest.raises(InputError, match=r"learning_rates.*--help lists the options"):
        fit(config, model={"learning_rates": 3})
    with pytest.raises(InputError, match="the config names no task; give task, such as 'classification' or 'dos'"):
        fit({"data": {"source": str(shapes_folder)}})
    with pytest.raises(InputError, match="there is no task 'nothing'"):
        fit(config, task="nothing")
    with pytest.raises(InputError, match=r"Wrong gives logits of shape \(8, 4\) for 8 shapes of 3 classes; let it"):
        fit([config, own(Wrong)])
    with pytest.raises(InputError, match="gone.ckpt: there is no such checkpoint"):
        evaluate("gone.ckpt")
    with pytest.raises(InputError, match="split is 'train'; give 'test' or 'validation'"):
        evaluate("gone.ckpt", split="train")
    with pytest.raises(InputError, match="gone cannot be resumed: it has no config.yaml"):
        fit(resume="gone")


class CtrlC(L.Callback):
    """Press Ctrl-C at the second batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, 1):
            raise KeyboardInterrupt


def test_what_the_end_would_meet_is_told_at_the_start(config, shapes_folder, tmp_path):
    source = tmp_path / "untested"
    for name in ("ball", "rod"):
        shutil.copytree(shapes_folder / name / "train", source / name / "train")
    with pytest.raises(InputError, match="no class has a mesh or point file in test/"):
        fit(config, data={"source": str(source)}, test_at_end=True)
    with pytest.raises(InputError, match=r"caf\\xe9.*: the name is not in UTF-8; rename it"):
        fit(config, name="caf\udce9")
    assert not (tmp_path / "runs").exists()


def test_an_interrupt_does_not_end_python(config):
    with pytest.raises(Interrupted) as end:
        fit(config, callbacks=[CtrlC(1)])
    assert end.value.run is not None and len(end.value.run.history) == 1
    with pytest.raises(Interrupted) as end:
        fit(config, callbacks=[CtrlC(0)])
    assert end.value.run is None
