"""The whole program under torchrun, as a user starts it, against one process with the same whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from tests.tolerances import TOLERANCE, TRAINED, approx
from tests.toy_shapes import NUM_POINTS, write_shapes
from tests.toy_snapshots import NETWORKS, write_snapshots

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
WHOLE_BATCH = 8
WHOLE_BATCH_OF_SNAPSHOTS = 6


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A small training, with dropout, on numbers of shapes that two does not divide."""
    folder = tmp_path_factory.mktemp("torchrun")
    network = {"level": 1, "num_spheres": 2, "channels": 2, "base_width": 1, "dropout": 0.2}
    content = {
        "model": {"network": {"class_path": "csgnn_dgl.models.CSGNN", "init_args": network}},
        "data": {
            "source": str(write_shapes(folder / "data", num_train=14, num_test=5)),
            "num_points": NUM_POINTS,
            "validation_fraction": 0.26,
            "votes": 2,
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
        "test_at_end": True,
    }
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def dos_config(request, tmp_path_factory):
    """A small training of each model of the DOS, all of it that differs between processes switched on."""
    folder = tmp_path_factory.mktemp("torchrun")
    kind = {"csgnn": "CSGNNDOS", "agni": "AGNI", "schnet": "SchNet"}[request.param]
    network = {"class_path": f"csgnn_dgl.models.{kind}", "init_args": NETWORKS[request.param]}
    content = {
        "model": {"network": network, "beta": 0.01, "freeze_norms": 0.5, "schedule": "one_cycle"},
        "data": {"source": str(write_snapshots(folder / "data", num_train=7)), "train_rotation": "SO3"},
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
        "test_at_end": True,
    }
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def fit(processes, config, runs, *options, experiment="modelnet", batch=WHOLE_BATCH):
    """Run the program; return its run folder and what it printed."""
    start = TORCHRUN if processes == 2 else ()
    size = ["--data.batch_size", str(batch // processes)]
    program = f"pipelines.{experiment}"
    command = [sys.executable, *start, "-m", program, "fit", "--config", config, "--runs", runs, *size]
    done = subprocess.run(
        [*map(str, command), "--name", str(processes), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return Path(runs) / str(processes), done.stdout


def logged(run, key):
    """All values of a logged quantity; TensorBoard keeps them in float32."""
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    return [event.value for event in log.Scalars(key)]


def results(run):
    return json.loads((run / "results.json").read_text())["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_two_processes_train_and_test_as_one_does(config, tmp_path, precision):
    """In float64 nothing that float32 can show differs in two epochs; in float32, the first epoch's steps do not.

    Where rounding is all that differs, Adam makes it grow with every step: so the second epoch in float32 is wider.
    """
    one, shown = fit(1, config, tmp_path, "--trainer.precision", precision)
    two, shown_by_two = fit(2, config, tmp_path, "--trainer.precision", precision)
    close = TOLERANCE[torch.float32]
    wide = TRAINED[torch.float32] if precision == "32-true" else close
    losses, found = logged(one, "train/step_loss"), logged(two, "train/step_loss")
    assert len(losses) == 2 * 3  # 31 shapes in whole batches of 8
    assert found[:3] == approx(losses[:3], **close)
    assert found[3:] == approx(losses[3:], **wide)
    for key in ("train/loss", "validation/loss", "validation/accuracy"):
        (first, second), (first_of_two, second_of_two) = logged(one, key), logged(two, key)
        assert first_of_two == approx(first, **close)
        assert second_of_two == approx(second, **wide)
    assert results(two) == results(one)
    assert [result["num_shapes"] for result in results(two)] == [15] * 4
    assert shown_by_two.count("epoch 1/2") == shown.count("epoch 1/2") == 1


@pytest.mark.slow
def test_two_processes_train_models_of_the_dos_as_one_does(dos_config, tmp_path):
    options = ("--trainer.precision", "64-true")
    (one, _), (two, _) = (
        fit(number, dos_config, tmp_path, *options, experiment="dos", batch=WHOLE_BATCH_OF_SNAPSHOTS)
        for number in (1, 2)
    )
    close = TOLERANCE[torch.float32]
    losses = logged(one, "train/step_loss")
    assert len(losses) == 2 * 3  # 21 snapshots in whole batches of 6
    assert logged(two, "train/step_loss") == approx(losses, **close)
    for key in ("train/loss", "validation/loss", "validation/band_energy_mae", "validation/fermi_level_mae"):
        assert logged(two, key) == approx(logged(one, key), **close)
    for row, other in zip(results(one), results(two), strict=True):
        assert other["band_energy_mae"] == approx(row["band_energy_mae"], **close)
