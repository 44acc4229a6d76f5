"""Numbers that are not finite, at each place where they can come up."""

import json
import math

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.training.finite import FiniteGuard
from tests.tiny_training import assert_same_weights


class Spoil(L.Callback):
    """Put a NaN somewhere in the given epoch, at the given batch."""

    def __init__(self, where, epoch=1, batch=2):
        self.where, self.epoch, self.batch = where, epoch, batch

    def here(self, trainer, batch_idx):
        return (trainer.current_epoch, batch_idx) == (self.epoch, self.batch)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.here(trainer, batch_idx):
            self.index = batch["index"].tolist()
            if self.where == "weights":
                with torch.no_grad():
                    next(module.network.parameters()).view(-1)[0] = math.nan
            if self.where == "input":
                batch["points" if "points" in batch else "vectors"][-1] = math.nan

    def on_after_backward(self, trainer, module):
        if self.where == "gradients" and self.here(trainer, trainer.fit_loop.batch_idx):
            next(module.network.parameters()).grad.view(-1)[0] = math.inf

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if self.where == "step" and self.here(trainer, batch_idx):
            with torch.no_grad():
                next(module.network.parameters()).view(-1)[0] = math.nan


def guarded(build, where, skip=False, spoil=None, **options):
    """Build a training with a guard and a NaN."""
    trainer, model, data, folder = build(callbacks=[spoil := spoil or Spoil(where)], **options)
    trainer.callbacks.insert(1, FiniteGuard(folder, skip))
    return trainer, model, data, folder, spoil


class Start(L.Callback):
    """Keep what the training begins with."""

    def on_train_start(self, trainer, module):
        self.state = {name: value.clone() for name, value in module.network.state_dict().items()}


SAYS = {
    "weights": "the weights .* were not finite before it",
    "input": "the input .* is not finite",
    "gradients": "the gradient of .* is not finite, of a finite loss",
}


@pytest.mark.parametrize("task", ["classification", "dos"])
@pytest.mark.parametrize("where", sorted(SAYS))
def test_a_training_stops_at_the_batch(build, build_dos, task, where):
    make = build if task == "classification" else build_dos
    trainer, model, data, folder, spoil = guarded(make, where, max_epochs=4)
    with pytest.raises(InputError, match=SAYS[where]) as caught:
        try:
            trainer.fit(model, datamodule=data)
        except ValueError as error:
            if "cloud 7 of the batch has a coordinate that is NaN" not in str(error):
                raise
            trainer.callbacks[1].explain(trainer, model)  # as `Experiment` does
    said = str(caught.value)
    assert said.startswith(f"epoch 2, batch 3 of {trainer.num_training_batches} (seed 5; samples ")
    assert ", ".join(map(str, spoil.index)) in said and str(folder.run.last) in said
    assert read_checkpoint(folder.run.last)["epoch"] == 0
    read_checkpoint(folder.run.best)
    (kept,) = (folder.run.path / "not-finite").glob("*.npz")
    assert kept.name == "epoch-2-batch-3-rank-0.npz" and str(kept) in said
    arrays = np.load(kept)
    assert arrays["0/index"].tolist() == spoil.index
    assert math.isfinite(arrays.get("0/loss", math.nan)) == (where == "gradients")


def test_weights_that_the_last_step_of_an_epoch_broke_are_not_kept(build):
    trainer, model, data, folder, _ = guarded(build, "step", spoil=Spoil("step", batch=3))
    with pytest.raises(InputError, match=r"epoch 2, batch 4 of 4 .*: after it the weights .* are not finite"):
        trainer.fit(model, datamodule=data)
    assert read_checkpoint(folder.run.last)["epoch"] == 0


def test_no_checkpoint_of_weights_that_are_not_finite_is_written(build):
    spoil = Spoil("step", batch=3)
    trainer, model, data, folder = build(callbacks=[spoil])  # without a guard
    with pytest.raises(InputError, match="epoch 2: the weights .* are not finite and no checkpoint is written"):
        trainer.fit(model, datamodule=data)
    for file in (folder.run.last, folder.run.best):
        assert read_checkpoint(file)["epoch"] == 0


@pytest.mark.parametrize("where", ["input", "gradients"])
def test_skipped_batches_are_counted_and_leave_no_trace(build_dos, where):
    trainer, model, data, folder, _ = guarded(build_dos, where, skip=True)
    trainer.fit(model, datamodule=data)
    assert [entry["train/skipped_batches"] for entry in folder.history] == [0, 1, 0]
    assert all(math.isfinite(value) for entry in folder.history for value in entry.values())
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert json.loads((folder.run.path / "history.json").read_text())[1]["train/skipped_batches"] == 1


def test_a_skipped_step_takes_back_all_that_its_batches_did(build_dos):
    """The only step of the only epoch: what is left is what the training began with."""
    options = {"max_epochs": 1, "trainer": {"accumulate_grad_batches": 3}}
    trainer, model, data, _, _ = guarded(build_dos, "input", True, Spoil("input", epoch=0), **options)
    start = Start()
    trainer.callbacks.insert(0, start)
    with pytest.raises(InputError, match="all 3 batches of the epoch were skipped"):
        trainer.fit(model, datamodule=data)
    assert_same_weights(model.network.state_dict(), start.state)


def test_weights_that_are_not_finite_are_not_skipped(build):
    trainer, model, data, _, _ = guarded(build, "weights", skip=True)
    with pytest.raises(InputError, match="were not finite, which no skipping of batches mends"):
        trainer.fit(model, datamodule=data)


def test_a_guard_changes_no_bit(build):
    models = []
    for skip in (None, False, True):
        trainer, model, data, folder = build(max_epochs=2)
        if skip is not None:
            trainer.callbacks.insert(0, FiniteGuard(folder, skip))
        trainer.fit(model, datamodule=data)
        models.append(model.network)
    assert_same_weights(models[0], models[1])
    assert_same_weights(models[0], models[2])


class Blind(L.Callback):
    """Let the network answer NaN to all but training."""

    def on_validation_start(self, trainer, module):
        module.network.register_forward_hook(
            lambda network, _, output: output if network.training else output * math.nan
        )

    on_test_start = on_validation_start


def test_an_epoch_whose_validation_is_not_finite_is_not_ranked(build, caplog):
    trainer, model, data, folder = build(callbacks=[Blind()], max_epochs=1)
    trainer.fit(model, datamodule=data)
    assert "epoch 1 was validated with a result that is not finite; it is not ranked" in caplog.text
    assert folder.run.last.is_file() and not folder.run.best.is_file()


def test_answers_that_are_not_finite_are_not_reported(build):
    trainer, model, data, _ = build(callbacks=[Blind()])
    with pytest.raises(InputError, match=r"CSGNN gives numbers that are not finite for 15 of 15 test samples"):
        trainer.test(model, datamodule=data, verbose=False)


def test_a_checkpoint_with_a_nan_is_refused(build):
    trainer, model, data, folder = build(max_epochs=1)
    trainer.fit(model, datamodule=data)
    checkpoint = torch.load(folder.run.best, weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.startswith("network."))
    checkpoint["state_dict"][name].view(-1)[0] = math.nan
    torch.save(checkpoint, folder.run.best)
    with pytest.raises(InputError, match=rf"best.ckpt has weights that are not finite \({name}\)"):
        read_checkpoint(folder.run.path)
