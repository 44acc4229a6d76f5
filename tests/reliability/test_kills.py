"""What is killed or stopped at any moment, and gone on with, ends where an uninterrupted training does."""

import os
import random
import time

import pytest

from tests.reliability.harness import Training, assert_same, found

KILLS = int(os.environ.get("CSGNN_KILLS", "2"))
"""Kills of each case; a soak has many."""

CASES = [
    (program, workers, ranks, how)
    for program in ("modelnet", "dos")
    for workers, ranks in ((0, 1), (1, 1), (2, 1), (0, 2))
    for how in ("moment", "event", "SIGTERM")
]


def survive(folder, program, workers, ranks, how, kills):
    """Kill a training so often, two times in each run, and compare every run with one that was left alone."""
    folder.mkdir(exist_ok=True)
    training = Training(folder, program, workers, ranks)
    if how != "event":
        training.finish("warm")  # so that the next one takes as long as any
    start = time.monotonic()
    straight = found(training.finish("straight"))
    seconds = time.monotonic() - start
    draw = random.Random(f"{program} {workers} {ranks} {how} {os.environ.get('CSGNN_SEED', '0')}")
    done = runs = 0
    while done < kills:
        runs += 1
        name = f"run{runs}"
        for _ in range(min(2, kills)):
            done += training.killed(name, draw, how, seconds)
        name = training.run.name if (training.run / "checkpoints" / "last.ckpt").exists() else name
        assert_same(found(training.finish(name)), straight)
        assert not list(training.run.rglob(".part-*"))
        assert runs < 20 * kills + 20
    print(f"\n{program}, {workers} workers, {ranks} process(es), {how}: {done} kills in {runs} runs, all the same bits")


@pytest.mark.slow
def test_a_training_survives_kills_at_file_events(tmp_path):
    survive(tmp_path / "quick", "modelnet", 0, 1, "event", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("program", "workers", "ranks", "how"), CASES)
def test_trainings_survive(tmp_path, program, workers, ranks, how):
    survive(tmp_path / "case", program, workers, ranks, how, KILLS)
