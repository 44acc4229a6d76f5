import os
import signal
import time

import numpy as np
import pytest
import torch
from torch import nn

from csgnn_dgl.errors import InputError
from csgnn_dgl.training import Run
from csgnn_dgl.training import sweep as sweep_module
from csgnn_dgl.training.sweep import Budget, Entry, Sweep, _difference, _Watch, train_and_test
from tests.tiny_training import assert_same_weights
from tests.toy_shapes import NETWORK, NUM_POINTS


class Deadly(nn.Module):
    """Ends its process as the system does where memory runs out."""

    def __init__(self, num_classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes))

    def forward(self, points):
        os.kill(os.getpid(), signal.SIGKILL)


def silent(told):
    pass


def config(shapes_folder, path="csgnn_dgl.models.CSGNN", **arguments):
    network = {"class_path": path, "init_args": {**(NETWORK if "CSGNN" in path else {}), **arguments}}
    return {
        "task": "classification",
        "seed_everything": 3,
        "model": {"network": network, "learning_rate": 1e-2, "schedule": "one_cycle"},
        "data": {"source": str(shapes_folder), "num_points": NUM_POINTS, "batch_size": 8},
        "trainer": {"accelerator": "cpu", "devices": 1},
    }


@pytest.fixture
def entries(shapes_folder):
    return [
        Entry("one", "csgnn", config(shapes_folder)),
        Entry("deadly", "deadly", config(shapes_folder, "tests.training.test_sweep.Deadly")),
        Entry("wrong", "wrong", config(shapes_folder, level=9)),
    ]


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_in_the_same_bits_and_failures_leave_the_others_alone(
    entries, tmp_path, monkeypatch
):
    straight = tmp_path / "straight" / "one"
    train_and_test(str(straight), str(straight), entries[0].config, 4, {}, silent)

    def killed(told):
        if told.startswith("epoch 3"):
            raise RuntimeError("killed")

    folder = tmp_path / "sweep"
    sweep = Sweep(folder)
    sweep.begin(entries, Budget(epochs=4), {})
    begun = str(folder / "one")
    with pytest.raises(RuntimeError, match="killed"):
        train_and_test(begun, begun, entries[0].config, 4, {}, killed)
    assert len(Run(folder / "one").history) == 2 and not sweep.finished(entries[0])
    lines: list[str] = []
    again = Sweep(folder)
    again.begin(entries, Budget(epochs=4), {})
    failed = again.carry_out(2, lines.append, lambda results: f"{len(results.rows)} rows")
    assert lines[0] == "one: goes on with 4 epoch(s)"
    assert "one: 2 rows; 1 of 3 finished" in lines
    assert failed.keys() == {"deadly", "wrong"}
    assert failed["deadly"] == "its process was ended by signal SIGKILL, as it is where memory runs out"
    assert failed["wrong"].startswith("level must be one of")
    log = folder / "logs" / "wrong.log"
    assert f"wrong failed: {failed['wrong']} (see {log})" in lines and failed["wrong"] in log.read_text()
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (straight, folder / "one")]
    assert_same_weights(states[0]["state_dict"], states[1]["state_dict"])
    answers = [np.load(run / "predictions.npz") for run in (straight, folder / "one")]
    for name in ("predicted", "labels", "rotation"):
        np.testing.assert_array_equal(answers[0][name], answers[1][name])
    assert Run(folder / "one").history[-1]["cpu_seconds"] > 0
    # nothing is left to do but what failed
    left: list[str] = []

    def note(jobs, at_once):
        left.extend(job.name for job in jobs)
        yield from ()

    monkeypatch.setattr(sweep_module, "carry_out_jobs", note)
    assert Sweep(folder).carry_out(2, lines.append) == {}
    assert left == ["deadly", "wrong"]


def test_minutes_become_epochs_once_and_a_model_that_fails_in_being_timed_is_reported(entries, tmp_path, inline_jobs):
    votes = Entry("votes", "votes", {"task": "classification"}, "one", test={"data": {"votes": 2}})
    entries = [votes, entries[0], entries[2]]
    sweep = Sweep(tmp_path / "sweep")
    sweep.begin(entries, Budget(minutes=1e-4), {})
    lines: list[str] = []
    failed = sweep.carry_out(2, lines.append, lambda results: f"{len(results.rows)} rows")
    assert failed.keys() == {"wrong"} and failed["wrong"].startswith("level must be one of")
    assert lines[-2:] == [f"votes: tests {tmp_path / 'sweep' / 'one'}", "votes: 4 rows; 2 of 3 finished"]
    plan = Sweep(tmp_path / "sweep").plan
    assert plan["epochs"].keys() == plan["seconds_per_epoch"].keys() == {"csgnn"}
    assert plan["epochs"]["csgnn"] == Budget(minutes=1e-4).epochs_for(plan["seconds_per_epoch"]["csgnn"])
    assert len(Run(tmp_path / "sweep" / "one").history) == plan["epochs"]["csgnn"]
    assert plan["processors"]


@pytest.mark.slow
def test_an_interrupted_sweep_ends_its_processes_and_keeps_whole_epochs(entries, tmp_path):
    sweep = Sweep(tmp_path)
    sweep.begin(entries[:1], Budget(epochs=100_000), {})

    def say(line):
        while not Run(tmp_path / "one").last.is_file():
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.carry_out(1, say)
    epochs = Run(tmp_path / "one").history
    time.sleep(0.5)
    assert Run(tmp_path / "one").history == epochs
    torch.load(Run(tmp_path / "one").last, weights_only=True)


def test_a_second_start_with_another_plan_is_refused(entries, tmp_path, shapes_folder):
    sweep = Sweep(tmp_path)
    sweep.begin(entries, Budget(epochs=2), {"seeds": [0]})
    Sweep(tmp_path).begin(entries, Budget(epochs=2), {"seeds": [0]})
    with pytest.raises(InputError, match=r"another plan \(budget.epochs was 2 and is 3\)"):
        Sweep(tmp_path).begin(entries, Budget(epochs=3), {"seeds": [0]})
    with pytest.raises(InputError, match=r"entries were 3 and are 2"):
        Sweep(tmp_path).begin(entries[:2], Budget(epochs=2), {"seeds": [0]})
    other = [Entry("one", "csgnn", {**config(shapes_folder), "seed_everything": 4}), *entries[1:]]
    with pytest.raises(InputError, match=r"entries.one.config.seed_everything was 3 and is 4"):
        Sweep(tmp_path).begin(other, Budget(epochs=2), {"seeds": [0]})
    assert _difference({"a": [1, 2]}, {"a": [1, 2]}) == ""
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InputError, match="is no plan"):
        Sweep(tmp_path)


def test_what_cannot_be_carried_out_is_refused(entries, tmp_path, shapes_folder):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match=r"is not empty and holds no plan.json"):
        Sweep(tmp_path).begin(entries, Budget(epochs=2), {})
    with pytest.raises(InputError, match="one is there twice"):
        Sweep(tmp_path / "new").begin([entries[0], entries[0]], Budget(epochs=2), {})
    unknown = {**config(shapes_folder), "trainer": {"max_epoch": 3}}
    with pytest.raises(InputError, match="max_epoch"):
        Sweep(tmp_path / "new").begin([Entry("one", "x", unknown)], Budget(epochs=2), {})
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="names no folder"):
        Entry("../x", "x", {})
    for options in ({}, {"epochs": 1, "minutes": 1.0}, {"epochs": 0}, {"minutes": float("nan")}, {"minutes": 0.0}):
        with pytest.raises(InputError):
            Budget(**options)
    sweep = Sweep(tmp_path / "new")
    with pytest.raises(InputError, match="vote"):
        sweep.begin([Entry("one", "x", config(shapes_folder), test={"data": {"vote": 3}})], Budget(epochs=2), {})
    assert not (tmp_path / "new").exists()
    sweep.begin(entries, Budget(epochs=2), {})
    with sweep.locked(), pytest.raises(InputError, match="another process"), Sweep(tmp_path / "new").locked():
        pass
    with pytest.raises(InputError, match="--jobs is 0"):
        sweep.carry_out(0, silent)


def test_the_time_of_an_epoch_is_that_of_its_steps_without_the_first_ones():
    watch = _Watch()
    watch.counts = {"train": 20, "validation": 3}
    watch.times = {"train": [0.0, 5.0, 8.0, 9.0, 10.0, 12.0], "validation": [12.0, 13.0]}
    assert watch.epoch == 20 * (12.0 - 8.0) / 3 + 3 * 1.0
    assert Budget(minutes=1.0).epochs_for(7.0) == 8
    assert Budget(minutes=1.0).epochs_for(100.0) == 1
    assert Budget(epochs=5).epochs_for(100.0) == 5
