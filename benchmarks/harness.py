"""One harness: entries are built in processes of their own, compute by turns, and what they took is summed up.

The C library's allocator is set for a whole process, and so is the peak of its memory: hence processes. Only one of
them computes at a time, and each round begins with another entry, so that a drift of the machine meets all alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import timer

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.errors import InputError

ROOT = Path(__file__).parents[1]
LEAST = 0.1
"""Seconds that a turn takes at least: shorter actions are repeated within it."""

Progress = Callable[[Iterable[int], str], Iterable[int]]
"""Shows that one goes through a sequence, under a title."""


@dataclasses.dataclass(frozen=True)
class Built:
    """What an entry is once it is built.

    Attributes
    ----------
    actions
        What can be timed, by name.
    outputs
        Values that must agree between the entries that are compared, by name.
    """

    actions: Mapping[str, Callable[[], object]]
    outputs: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Entry:
    """Something to measure.

    Attributes
    ----------
    name
        Its name in the results.
    build
        A function of a module, which the process of the entry calls with `options`.
    options
        Plain values.
    modes
        Which of its actions are timed.
    keep_blocks
        Whether its process keeps large blocks of memory, as the programs of this package do.
    optional
        Whether it may fail to be built; it is then left out, and the results say why.
    least, warm_up
        Seconds that a turn takes at least, and whether each turn begins with a run that does not count.
    """

    name: str
    build: Callable[..., Built]
    options: Mapping[str, Any]
    modes: Sequence[str]
    keep_blocks: bool = True
    optional: bool = False
    least: float = LEAST
    warm_up: bool = False


@dataclasses.dataclass(frozen=True)
class Session:
    """How a command measures and tells: threads of torch (None: its own choice), progress, and the end of all time."""

    threads: int | None = None
    progress: Progress = lambda numbers, title: numbers
    tell: Callable[[str], None] = lambda text: None
    deadline: float = float("inf")


class Worker:
    """A process that calls functions; calls and results are pickled.

    Parameters
    ----------
    session
        Threads, and when a call has taken too long.
    keep_blocks
        Whether the process keeps large blocks of memory.
    """

    def __init__(self, session: Session, keep_blocks: bool = True) -> None:
        environment = child_environment()
        if session.threads is not None:
            environment["OMP_NUM_THREADS"] = str(session.threads)
        self._deadline = session.deadline
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from benchmarks.harness import serve; serve({keep_blocks}, {session.threads})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function over there.

        Raises
        ------
        InputError
            If the function raises one or a ValueError, or the process ended for want of memory or time.
        RuntimeError
            If it raises something else, or the process ended otherwise.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            pickle.dump((function, arguments), self._process.stdin)
            self._process.stdin.flush()
            left = None if self._deadline == float("inf") else max(self._deadline - time.time(), 0.0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise InputError(f"the time was over at {function.__name__}")
            error, result = pickle.load(self._process.stdout)
        except (BrokenPipeError, EOFError):
            raise ended(self._process.wait(), function.__name__) from None
        if error is not None:
            raise error(result)
        return result

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def ended(code: int, what: str) -> Exception:
    """Return the error that says how a process ended: the user can only mend a lack of memory."""
    if code == -signal.SIGKILL:
        return InputError(
            f"the system ended the measuring process at {what}, most likely for want of memory; lower --batch"
        )
    return RuntimeError(f"the measuring process ended with code {code} at {what}")


def child_environment() -> dict[str, str]:
    """Return an environment in which a child finds this package wherever it is started."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def serve(keep_blocks: bool, threads: int | None) -> None:
    """Answer calls until there are no more; what libraries print goes to stderr."""
    if keep_blocks:
        keep_large_blocks()
    if threads is not None:
        torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the program that started this one, and that ends this
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: tuple[type[Exception] | None, Any]
        try:
            answer = None, function(*arguments)
        except (InputError, ValueError) as error:  # what a model refuses came from an option
            answer = InputError, str(error)
        except Exception as error:
            answer = RuntimeError, f"{type(error).__name__}: {error}"
        pickle.dump(answer, channel)
        channel.flush()


_BUILT: dict[str, Built] = {}


def build(entry: Entry) -> Mapping[str, Tensor]:
    """Build an entry in this process and return its outputs."""
    _BUILT[entry.name] = entry.build(**entry.options)
    return _BUILT[entry.name].outputs


def run(name: str, mode: str, least: float = LEAST, warm_up: bool = False) -> float:
    """Run an action as often as fits into `least` seconds, once at least; return the seconds of one run."""
    action = _BUILT[name].actions[mode]
    if warm_up:
        action()
    start = timer()
    action()
    once = max(timer() - start, 1e-9)
    more = max(math.ceil(least / once) - 1, 0)
    for _ in range(more):
        action()
    return (timer() - start) / (1 + more)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the quartiles and all values."""
    lower, median, upper = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75]).double())
    return {"median": float(median), "lower_quartile": float(lower), "upper_quartile": float(upper), "all": [*values]}


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a measurement found: `times` in seconds by entry and mode, and why entries are `missing`."""

    times: dict[str, dict[str, dict[str, Any]]]
    missing: dict[str, str]


class Workers(contextlib.ExitStack):
    """Two processes at most, by whether they keep large blocks; they end with the context."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session, self._started = session, dict[bool, Worker]()

    def __getitem__(self, keep_blocks: bool) -> Worker:
        if keep_blocks not in self._started:
            self._started[keep_blocks] = self.enter_context(Worker(self._session, keep_blocks))
        return self._started[keep_blocks]


def measure(
    entries: Sequence[Entry],
    repeats: int,
    session: Session,
    title: str,
    verify: Callable[[Mapping[str, Mapping[str, Tensor]]], object] = lambda outputs: None,
    workers: Workers | None = None,
) -> Measured:
    """Build all entries, compare what they compute, and time them in turns; one more round before does not count.

    Parameters
    ----------
    entries
        What is measured; those that keep blocks share a process, and so do the others.
    repeats
        Rounds.
    session, title
        How the rounds are timed and shown.
    verify
        Takes the outputs by entry, and raises where they do not agree.
    workers
        Processes to use; by default new ones.

    Raises
    ------
    InputError, RuntimeError
        As `Worker`; and if no entry can be built.
    """
    if workers is None:
        with Workers(session) as workers:
            return measure(entries, repeats, session, title, verify, workers)
    missing: dict[str, str] = {}
    outputs: dict[str, Mapping[str, Tensor]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        try:
            outputs[entry.name] = workers[entry.keep_blocks](build, entry)
        except (InputError, RuntimeError) as error:
            missing[entry.name] = one_line(error)
            if not entry.optional:
                raise
    if not outputs:
        raise InputError(missing_text(missing))
    verify(outputs)
    turns = [(entry, mode) for entry in entries if entry.name in outputs for mode in entry.modes]
    for number in session.progress(range(-1, repeats), title):
        shift = number % len(turns)
        for entry, mode in [*turns[shift:], *turns[:shift]]:
            took = workers[entry.keep_blocks](run, entry.name, mode, entry.least, entry.warm_up)
            if number >= 0:
                seconds.setdefault((entry.name, mode), []).append(took)
    times: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in outputs}
    for (name, mode), values in seconds.items():
        times[name][mode] = summary(values)
    return Measured(times, missing)


def one_line(error: Exception) -> str:
    """Return the first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def missing_text(missing: Mapping[str, str]) -> str:
    """Say in one line each who did not take part, and why."""
    return "\n".join(f"{name}: not available: {reason}" for name, reason in missing.items())


def held(device: str) -> int:
    """Return the memory in bytes that this process holds on a device; its peak where the system does not tell."""
    if device == "cuda":
        return torch.cuda.memory_allocated()
    status = Path("/proc/self/statm")
    if not status.is_file():
        return peak(device)
    return int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak(device: str) -> int:
    """Return the most memory in bytes that this process has held on a device.

    On Linux that is VmHWM: ``ru_maxrss`` begins with the peak of the process that started this one.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest


def measure_memory(entry: Entry, steps: int, device: str, session: Session) -> dict[str, float]:
    """Run the first mode of an entry in a process of its own.

    Returns
    -------
    dict
        In bytes the ``peak`` of the process, what it held ``before`` the entry was built, and ``added``, the
        difference; and the ``seconds`` of the last step.
    """
    with Worker(session, entry.keep_blocks) as worker:
        before = worker(_import_and_hold, entry.build, device)  # libraries do not count as the entry's
        worker(build, entry)
        for _ in range(steps):
            seconds = worker(run, entry.name, entry.modes[0], 0.0)
        most = worker(peak, device)
    return {"peak": most, "before": before, "added": most - before, "seconds": seconds}


def _import_and_hold(function: Callable[..., Built], device: str) -> int:
    return held(device)  # the module of `function` was imported as it was unpickled
