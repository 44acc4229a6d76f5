import errno
import os

import lightning.pytorch as L
import matplotlib.image
import numpy as np
import pytest
import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import base
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.training import Run, RunFolder
from csgnn_dgl.training.experiment import resumable
from csgnn_dgl.training.figures import history_figure
from csgnn_dgl.training.runs import claim_folder
from tests.tiny_training import Stop, assert_same_weights


class Full(L.Callback):
    """Leave no room on the disk from the second epoch on."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            self.monkeypatch.setattr(base, "write_sealed", self.write)

    @staticmethod
    def write(content, file):
        file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


def test_a_run_leaves_a_complete_folder(build, figures):
    trainer, model, data, folder = build(max_epochs=2)
    trainer.fit(model, datamodule=data)
    run = Run.at(folder.run.best)
    assert run == folder.run == Run.at(folder.run.path)
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    names = {name for name in names if not name.startswith("tensorboard/")}
    kept = {f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")}
    assert names == {"config.yaml", "history.json", "curve.png", ".lock", *kept}
    assert run.config == {"seed_everything": 5}
    assert run.history == folder.history
    assert [entry["epoch"] for entry in run.history] == [0, 1]
    assert run.history[1]["seconds"] > run.history[0]["seconds"] > 0
    assert run.results is None
    assert matplotlib.image.imread(run.path / "curve.png").shape[1] == 3 * 440  # loss, accuracy and rate


def test_the_curve_of_an_interrupted_training_is_drawn(build):
    trainer, model, data, folder = build(callbacks=[Stop(1, 1)])
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(model, datamodule=data)
    assert (folder.run.path / "curve.png").is_file()
    assert len(folder.run.history) == 1


def test_the_curve_shows_the_measures_of_its_panels():
    history = [
        {"epoch": 0.0, "train/loss": 2.0, "validation/loss": 3.0, "learning_rate": 0.1},
        {"epoch": 1.0, "train/loss": 1.0, "learning_rate": 0.01},
    ]
    left, middle, right = history_figure(history, {"loss": "the loss", "other": "nothing"}).axes
    assert [axes.get_title() for axes in (left, middle, right)] == ["the loss", "nothing", "learning rate"]
    train, validation = (np.asarray(line.get_xydata()).tolist() for line in left.lines)
    assert train == [[1, 2], [2, 1]] and validation[0] == [1, 3]
    assert not middle.lines
    assert right.get_yscale() == "log"


def test_a_new_run_never_writes_over_an_old_one(build):
    first = build(max_epochs=1)
    first[0].fit(first[1], datamodule=first[2])
    before = first[3].run.last.read_bytes()
    second = build(max_epochs=1)
    second[0].fit(second[1], datamodule=second[2])
    assert second[3].run.name == "run-2"
    assert first[3].run.last.read_bytes() == before


def test_best_checkpoint_is_of_the_epoch_with_the_best_accuracy(build):
    trainer, model, data, folder = build(max_epochs=4, learning_rate=1e-2)
    trainer.fit(model, datamodule=data)
    ranks = [(entry["validation/accuracy"], -entry["validation/loss"]) for entry in folder.history]
    assert torch.load(folder.run.best, weights_only=True)["epoch"] == ranks.index(max(ranks))
    assert folder.best["epoch"] == ranks.index(max(ranks))


def test_nothing_is_written_when_the_data_cannot_be_read(build, tmp_path):
    trainer, model, data, _ = build(data={"batch_size": 64})
    with pytest.raises(InputError, match="do not fill one batch"):
        trainer.fit(model, datamodule=data)
    assert not (tmp_path / "runs").exists()


def test_path_is_unknown_before_training(tmp_path):
    with pytest.raises(RuntimeError, match="when training begins"):
        _ = RunFolder(tmp_path, "run").run


def test_folders_are_numbered(tmp_path):
    assert [claim_folder(tmp_path / "runs", "a").name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_latest_run_is_the_one_with_the_newest_checkpoint(tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        Run.latest(tmp_path)
    for age, name in ((5, "b"), (10, "a"), (20, "c")):
        file = tmp_path / name / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    assert Run.latest(tmp_path) == Run(tmp_path / "b")


def test_the_better_epoch_ranks_higher(tmp_path):
    folder = RunFolder(tmp_path, "run", "validation/accuracy", "max")
    good = {"validation/accuracy": 0.1, "validation/loss": 9.0}
    assert folder._rank(good) > folder._rank({"validation/accuracy": 0.0, "validation/loss": 0.0})
    assert folder._rank({**good, "validation/loss": 1.0}) > folder._rank(good)
    smaller = RunFolder(tmp_path, "run")
    assert smaller._rank({"validation/loss": 1.0}) > smaller._rank(good)


def test_results_find_a_free_folder(tmp_path):
    run = Run.at(tmp_path / "checkpoints" / "last.ckpt")
    assert run.free_folder() == tmp_path
    for name in ("results.json", "test-2/results.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert run.free_folder() == tmp_path / "test-3"
    assert Run.at(tmp_path / "alone.ckpt") == run


def test_a_damaged_checkpoint_is_noticed_and_its_predecessor_used(build, caplog):
    trainer, straight, data, _ = build("straight", max_epochs=3)
    trainer.fit(straight, datamodule=data)
    trainer, model, data, folder = build(max_epochs=2)
    trainer.fit(model, datamodule=data)
    run = folder.run
    assert [read_checkpoint(file)["epoch"] for file in (run.last, run.previous)] == [1, 0]
    content = bytearray(run.last.read_bytes())
    content[len(content) // 2] ^= 4
    run.last.write_bytes(content)
    (run.path / "checkpoints" / ".part-left").touch()
    with pytest.raises(InputError, match=r"last.ckpt is damaged: its checksum does not fit"):
        read_checkpoint(run.last)
    assert run.whole() == run.previous
    trainer, resumed, data, _ = build(max_epochs=3, resume=run)
    trainer.fit(resumed, datamodule=data, ckpt_path=str(run.last), weights_only=True)
    assert "is damaged and kept as damaged.ckpt; the training goes on from previous.ckpt" in caplog.text
    assert_same_weights(straight, resumed)
    names = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "previous.ckpt", "damaged.ckpt"}
    for file in (run.last, run.previous):
        file.unlink()
    with pytest.raises(InputError, match="last.ckpt: there is no such checkpoint"):
        run.whole()


def test_a_run_goes_on_from_its_last_checkpoint_only(build):
    trainer, model, data, folder = build(max_epochs=1)
    trainer.fit(model, datamodule=data)
    run = folder.run
    assert resumable(run) == resumable(run.path) == resumable(run.last) == run
    with pytest.raises(InputError, match=f"best.ckpt: a run goes on from its last checkpoint only.*; give {run.path}"):
        resumable(run.best)


def test_a_full_disk_leaves_the_last_checkpoint_whole(build, monkeypatch):
    trainer, model, data, folder = build(callbacks=[Full(monkeypatch)])
    with pytest.raises(OSError, match="No space left"):
        trainer.fit(model, datamodule=data)
    monkeypatch.undo()
    assert read_checkpoint(folder.run.last)["epoch"] == 0
    assert not list(folder.run.path.rglob(".part-*"))
