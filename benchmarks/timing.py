"""Processes that take turns, so that a drift of the machine meets all of them alike; medians of what they measured."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from csgnn_dgl.errors import InputError

ROOT = Path(__file__).parents[1]
LEAST = 0.1
"""Seconds that a turn takes at least: shorter actions are repeated within it."""

Progress = Callable[[Iterable[int], str], Iterable[int]]
"""Shows that one goes through a sequence, under a title."""


class Worker:
    """Our end of a process of `benchmarks.worker`.

    Parameters
    ----------
    keep_blocks
        Whether the process keeps large blocks of memory, as the programs of this package do.
    threads
        Threads of torch; torch's own choice if None.
    """

    def __init__(self, keep_blocks: bool = True, threads: int | None = None) -> None:
        command = [sys.executable, "-m", "benchmarks.worker"]
        command += ["--keep-blocks"] if keep_blocks else []
        environment = child_environment()
        if threads is not None:
            command += ["--threads", str(threads)]
            environment["OMP_NUM_THREADS"] = str(threads)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def make(self, function: str, name: str, **options: Any) -> dict[str, Any]:
        """Call a function ``module:function`` of this package over there, keep its actions and return its facts."""
        return self._ask({"make": function, "as": name, "options": options})

    def run(self, name: str, action: str, least: float = LEAST) -> dict[str, float]:
        """Run an action and return seconds: under "" those of one run, or by name what it measured itself."""
        answer = self._ask({"run": name, "action": action, "least": least})
        measured = answer.get("measured")
        return {"": answer["seconds"]} if measured is None else measured

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ended(self._process.wait(), json.dumps(command))
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            error = InputError if answer["kind"] == "InputError" else RuntimeError
            raise error(answer["error"] if error is InputError else f"{answer['kind']}: {answer['error']}")
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def ended(code: int, command: str) -> Exception:
    """Return the error that says how a process ended at a command: the user can only mend a lack of memory."""
    if code == -signal.SIGKILL:
        return InputError(
            f"the system ended the measuring process at {command}, most likely for want of memory; lower --batch"
        )
    return RuntimeError(f"the measuring process ended with code {code} at {command}")


def child_environment() -> dict[str, str]:
    """Return an environment in which a child finds this package wherever it is started."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@dataclasses.dataclass(frozen=True)
class Turn:
    """One thing to time: an action of something that a worker has made; results go under `key`."""

    key: str
    worker: Worker
    name: str
    action: str
    least: float = LEAST


def interleave(
    turns: Sequence[Turn], repeats: int, title: str, progress: Progress, warm_up: int = 1
) -> dict[str, list[float]]:
    """Take turns in rounds, beginning with another one each round.

    Parameters
    ----------
    turns
        What is timed.
    repeats, warm_up
        Number of rounds that count, and of rounds before them that do not.
    title, progress
        How the rounds are shown.

    Returns
    -------
    dict
        For each key `repeats` times in seconds. An action that measures itself gives the keys ``key/what``.
    """
    seconds: dict[str, list[float]] = {}
    for number in progress(range(-warm_up, repeats), title):
        shift = number % len(turns)
        for turn in [*turns[shift:], *turns[:shift]]:
            for what, value in turn.worker.run(turn.name, turn.action, turn.least).items():
                if number >= 0:
                    seconds.setdefault(f"{turn.key}/{what}" if what else turn.key, []).append(value)
    return seconds


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the quartiles and all values."""
    lower, median, upper = np.percentile(values, [25, 50, 75]).tolist()
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper, "all": list(values)}
