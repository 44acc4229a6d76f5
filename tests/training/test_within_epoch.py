"""Checkpoints within an epoch: what is killed or stopped there goes on from the last step, to the bit."""

import os
import signal

import lightning.pytorch as L
import pytest
import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.training.stopping import ASKED, Stopped, StopSignals
from tests.tiny_training import Stop, assert_same_weights


class Raise(L.Callback):
    """Raise a signal in the given epoch, at the given batch or in its validation."""

    def __init__(self, number, epoch, batch=None):
        self.number, self.epoch, self.batch = number, epoch, batch

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer, module, *_):
        if self.batch is None and trainer.current_epoch == self.epoch:
            os.kill(os.getpid(), self.number)


def assert_same_end(make, straight, broken, **options):
    """Go on with a run, and compare its end with that of an uninterrupted one."""
    run = broken.run
    trainer, resumed, data, again = make("again", resume=run, **options)
    torch.nn.init.zeros_(next(resumed.parameters()))  # what it starts from must not matter
    trainer.fit(resumed, datamodule=data, ckpt_path=str(run.last), weights_only=True)
    assert_same_weights(straight[1], resumed)
    for entry, other in zip(straight[3].history, again.history, strict=True):
        assert {key: value for key, value in entry.items() if "second" not in key} == {
            key: value for key, value in other.items() if "second" not in key
        }
    ends = [torch.load(folder.run.last, weights_only=True) for folder in (straight[3], again)]
    for key in ("optimizer_states", "lr_schedulers"):
        assert str(ends[0][key]) == str(ends[1][key])
    assert ends[0]["global_step"] == ends[1]["global_step"]


def trained(make, name, end=None, **options):
    """Train, up to an end that is to come."""
    parts = make(name, **options)
    if end is None:
        parts[0].fit(parts[1], datamodule=parts[2])
    else:
        with pytest.raises(end):
            parts[0].fit(parts[1], datamodule=parts[2])
    return parts


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "accumulate", "batch"), [(0, 1, 1), (1, 2, 3), (2, 1, 3)])
def test_a_training_that_is_killed_within_an_epoch_goes_on_there(build, workers, accumulate, batch):
    options = {"max_epochs": 2, "schedule": "plateau", "learning_rate": 1e-2, "patience": 0, "threshold": 0.9}
    options |= {"trainer": {"accumulate_grad_batches": accumulate}, "network": {"dropout": 0.3}}
    options |= {"average": 0.9} if workers == 1 else {}
    straight = trained(build, "straight", **options)
    shared = {**options, "data": {"num_workers": workers}}
    broken = trained(build, "killed", RuntimeError, callbacks=[Stop(1, batch)], minutes=0, **shared)[3]
    state = read_checkpoint(broken.run.last)
    assert state["ModelNetData"]["batch"] == batch // accumulate * accumulate and state["epoch"] == 1
    assert_same_end(build, straight, broken, **shared)


@pytest.mark.slow
def test_a_training_of_the_dos_goes_on_within_an_epoch_with_its_norms_frozen(build_dos):
    options = {"kind": "agni", "max_epochs": 3, "freeze_norms": 0.3, "schedule": "one_cycle", "beta": 0.1}

    def make(name, **rest):
        return build_dos(name=name, **{**options, **rest})

    straight = trained(make, "straight")
    broken = trained(make, "killed", RuntimeError, callbacks=[Stop(1, 2)], minutes=0)[3]
    assert_same_end(make, straight, broken)


@pytest.mark.parametrize(
    ("number", "batch"),
    [
        (signal.SIGTERM, 1),
        pytest.param(signal.SIGINT, 3, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, None, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_training_at_a_step(build, number, batch):
    options = {"max_epochs": 2, "schedule": "cosine", "learning_rate": 1e-2}
    before = [signal.getsignal(asked) for asked in ASKED]
    straight = trained(build, "straight", **options)
    parts = trained(build, "stopped", Stopped, callbacks=[Raise(number, 1, batch)], **options)
    assert parts[3].signals.number == number
    state = read_checkpoint(parts[3].run.last)
    within = batch == 1  # the last step of an epoch, and its validation, are followed by its end
    assert state["ModelNetData"]["batch"] == (2 if within else 0)
    assert len(parts[3].history) == (1 if within else 2)
    assert_same_end(build, straight, parts[3], **options)
    for asked, handler in zip(ASKED, before, strict=True):
        signal.signal(asked, handler)


def test_signals_that_were_ignored_stay_so_and_a_second_ctrl_c_ends_at_once(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals = StopSignals()
    signals.activate()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert signals.number == signal.SIGINT
    monkeypatch.setattr("csgnn_dgl.training.stopping.IMPATIENT", -1.0)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    kept = signal.getsignal(signal.SIGINT)
    signals.deactivate()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, kept)  # as Lightning puts back what it had found
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, before)


def test_within_an_epoch_batches_have_to_be_shared_as_before(build):
    broken = trained(build, "killed", RuntimeError, callbacks=[Stop(0, 1)], minutes=0)[3]
    trainer, model, data, _ = build(resume=broken.run, data={"batch_size": 4})
    with pytest.raises(InputError, match=r"within an epoch of 1 process\(es\) with batches of 8, and here are 1 with"):
        trainer.fit(model, datamodule=data, ckpt_path=str(broken.run.last), weights_only=True)
