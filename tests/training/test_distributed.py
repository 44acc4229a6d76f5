"""A training in two processes against one process with the same whole batch."""

import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch.multiprocessing.spawn import start_processes

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from csgnn_dgl.tasks.classification import ClassificationModule, ModelNetData
from csgnn_dgl.training import RunFolder
from tests.tiny_training import SILENT
from tests.tolerances import TOLERANCE, TRAINED, approx
from tests.toy_shapes import NUM_POINTS, write_shapes

WHOLE_BATCH, EPOCHS = 8, 2
VARIANTS: dict[str, Any] = {
    "float64": {},
    "float32": {"trainer": {"precision": "32-true", "max_epochs": 1}, "module": {"learning_rate": 2.2e-4}},
    "one thing and another": {
        "trainer": {"sync_batchnorm": True, "accumulate_grad_batches": 2},
        "module": {"schedule": "one_cycle"},
        "network": {"recompute": True, "form": "fast"},
    },
}


class StepLosses(L.Callback):
    """What is logged as each step's loss."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(trainer.callback_metrics["train/step_loss"]))


class Keeping(ClassificationModule):
    """Keeps the class probabilities of a test."""

    def score(self, split, answers, items):
        self.kept = answers
        return super().score(split, answers, items)


def train(world, source, folder, variant):
    """Train and test one variant, as one of `world` processes; return all that was found."""
    options = VARIANTS[variant]
    L.seed_everything(5, verbose=False)
    batch = WHOLE_BATCH // world
    data = ModelNetData(source, NUM_POINTS, batch, votes=2, validation_fraction=0.26, seed=5)
    network: dict[str, Any] = {"level": 1, "num_spheres": 2, "channels": 2, "base_width": 1, "dropout": 0.3}
    network |= {"num_points": NUM_POINTS, "num_classes": data.num_classes, **options.get("network", {})}
    module = Keeping(CSGNN(**network), **{"learning_rate": 1e-2, "seed": 5, **options.get("module", {})})
    losses, kept = StepLosses(), RunFolder(folder, variant)
    settings = {"max_epochs": EPOCHS, "precision": "64-true", **options.get("trainer", {})}
    parallel = {"devices": world, "strategy": "ddp" if world > 1 else "auto"}
    trainer = L.Trainer(**{**SILENT, **parallel, "callbacks": [losses, kept], **settings})
    trainer.fit(module, datamodule=data)
    trained = {name: value.clone() for name, value in module.network.state_dict().items()}
    trainer.test(module, datamodule=data, verbose=False)
    return {
        "losses": losses.seen,
        "history": [{key: value for key, value in entry.items() if "second" not in key} for entry in kept.history],
        "scores": [{**dataclasses.asdict(score), "predicted": score.predicted.tolist()} for score in module.scores],
        "probabilities": module.kept,
        "weights": trained,
        "sizes": [len(data.train_clouds), len(data.validation_clouds), len(data.test_clouds)],
    }


def one_of_two(rank, source, folder, port):
    """Be one process, as torchrun starts them, and leave what was found in a file."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="none", GROUP_RANK="0")
    found = {variant: train(2, source, Path(folder, "two"), variant) for variant in VARIANTS}
    torch.save(found, Path(folder, f"{rank}.pt"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Numbers of shapes that no number of processes or batches divides."""
    return str(write_shapes(tmp_path_factory.mktemp("uneven") / "data", num_train=14, num_test=5))


@pytest.fixture(scope="module")
def two(source, tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    start_processes(one_of_two, (source, str(folder), port), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def one(source, tmp_path_factory):
    """What one process finds."""
    folder = tmp_path_factory.mktemp("one")
    return {variant: train(1, source, folder, variant) for variant in VARIANTS}


def same(found, wanted, dtype):
    close = TOLERANCE[dtype]
    assert found == approx(wanted, **close)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["float64", "one thing and another"])
def test_every_step_and_epoch_is_that_of_one_process(one, two, variant):
    wanted = one[variant]
    train_size, validation_size, test_size = wanted["sizes"]
    assert train_size % WHOLE_BATCH == WHOLE_BATCH - 1 and validation_size % 2 and test_size % 2
    assert len(wanted["losses"]) == EPOCHS * (train_size // WHOLE_BATCH)
    for process in two:
        found = process[variant]
        same(found["losses"], wanted["losses"], torch.float64)
        for entry, other in zip(found["history"], wanted["history"], strict=True):
            same(entry, other, torch.float32)  # torchmetrics count in float32
        # Adam divides by the gradient's size, so that rounding grows more in the weights than in the losses
        close = TRAINED[torch.float64]
        for name, value in wanted["weights"].items():
            torch.testing.assert_close(found["weights"][name], value, **close)


@pytest.mark.slow
def test_every_shape_is_tested_once_and_scores_are_those_of_one_process(one, two):
    wanted = one["float64"]
    for process in two:
        found = process["float64"]
        assert found["scores"] == wanted["scores"]
        assert all(score["num_shapes"] == 15 for score in found["scores"])
    close = TOLERANCE[torch.float32]
    torch.testing.assert_close(two[0]["float64"]["probabilities"], wanted["probabilities"], **close)


@pytest.mark.slow
def test_in_float32_rounding_is_all_that_differs(one, two):
    """One epoch at the paper's rate: Adam divides by the gradient's size, so that rounding grows with every step."""
    wanted, found = one["float32"], two[0]["float32"]
    same(found["losses"], wanted["losses"], torch.float32)
    same(found["history"][0]["train/loss"], wanted["history"][0]["train/loss"], torch.float32)


@pytest.mark.slow
def test_both_processes_end_with_the_same_bits(two):
    for variant in VARIANTS:
        first, second = (process[variant] for process in two)
        assert first["losses"] == second["losses"]
        assert all(torch.equal(value, second["weights"][name]) for name, value in first["weights"].items())


@pytest.mark.parametrize(("stage", "what"), [("fit", "6 validation"), ("test", "15 test")])
def test_processes_without_any_shape_are_refused(source, stage, what, monkeypatch):
    data = ModelNetData(source, NUM_POINTS, batch_size=1, validation_fraction=0.15)
    monkeypatch.setattr(data, "_world", lambda: (0, 16))
    with pytest.raises(InputError, match=rf"{what} shape\(s\) leave some of 16 processes without any; start fewer"):
        data.setup(stage)
