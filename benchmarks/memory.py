"""The most memory that a process needs in training: one process for each contender."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, kind_of
from benchmarks.sizes import Size
from benchmarks.timing import Progress, Worker

STEPS = 3
"""Training steps before the peak is read: the first makes the optimiser's moments, the second needs them."""


def resident() -> int:
    """Return the memory that this process holds now, in bytes; its peak where the system does not tell."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return peak()
    return int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Return the most memory that this process has held, in bytes.

    On Linux that is VmHWM: ``ru_maxrss`` begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def make(contender: str, size: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """Build a contender for a worker; everything is imported before, so that libraries do not count as the model's."""
    before = resident()
    built = Contender(contender, Size(**size), settle=False)
    return {"before": before}, {"training": built.training, "peak": lambda: {"peak": peak()}}


def measure_memory(
    size: Size, contenders: Sequence[str], threads: int | None, title: str, progress: Progress
) -> dict[str, Any]:
    """Train each contender in a process of its own.

    Parameters
    ----------
    size
        The model and batch.
    contenders
        Keys of `CONTENDERS`.
    threads
        Threads of torch; its own choice if None.
    title, progress
        How it is shown.

    Returns
    -------
    dict
        For each contender in bytes: ``peak`` of the process, ``before`` the model was made, and ``added``, the
        difference.
    """
    found: dict[str, Any] = {}
    for number in progress(range(len(contenders)), title):
        name = contenders[number]
        with Worker(kind_of(name).keep_blocks, threads) as worker:
            before = worker.make("memory:make", name, contender=name, size=dataclasses.asdict(size))["before"]
            for _ in range(STEPS):
                worker.run(name, "training", least=0.0)
            most = int(worker.run(name, "peak")["peak"])
        found[name] = {"peak": most, "before": before, "added": most - before}
    return {"size": dataclasses.asdict(size), "bytes": found}
