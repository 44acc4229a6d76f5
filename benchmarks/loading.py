"""Whether the data module keeps up with training."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

from benchmarks.sizes import Size
from benchmarks.timing import Progress, Turn, Worker, interleave, summary
from csgnn_dgl.tasks.classification import ModelNetData

BATCHES = 10
"""Batches that are fetched in a row."""


def make(source: str, num_points: int, batch: int) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """Build the data module for a worker; it prepares batches in the process itself, which is the slowest way."""
    data = ModelNetData(source=source, num_points=num_points, batch_size=batch)
    data.setup("fit")
    loader = data.train_dataloader()

    def fetch() -> dict[str, float]:
        start = time.perf_counter()
        count = sum(1 for _ in itertools.islice(loader, BATCHES))
        return {"batch": (time.perf_counter() - start) / count}

    return {"shapes": len(data.train_clouds)}, {"fetch": fetch}


def measure_loading(
    size: Size, source: str, num_points: int, repeats: int, threads: int | None, progress: Progress
) -> dict[str, Any]:
    """Time the preparing of batches beside training steps on as many samples.

    Parameters
    ----------
    size
        The model and batch.
    source, num_points
        As in `ModelNetData`.
    repeats
        Rounds.
    threads
        Threads of torch; its own choice if None.
    progress
        How the rounds are shown.

    Returns
    -------
    dict
        Seconds per batch of ``loading`` and ``training`` (without mapping).
    """
    options = dataclasses.asdict(size)
    with Worker(threads=threads) as worker:
        shapes = worker.make("loading:make", "data", source=source, num_points=num_points, batch=size.batch)["shapes"]
        worker.make("contenders:make", "auto", contender="auto", size=options, modes=["inference"])
        turns = [Turn("loading", worker, "data", "fetch"), Turn("training", worker, "auto", "training")]
        seconds = interleave(turns, repeats, "loading", progress)
    return {
        "size": options,
        "source": source,
        "shapes": shapes,
        "seconds_per_batch": {"loading": summary(seconds["loading/batch"]), "training": summary(seconds["training"])},
    }
