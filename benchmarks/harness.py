"""One harness: entries are built in processes of their own, compute by turns, and what they took is summed up.

The C library's allocator is set for a whole process, and so is the peak of its memory: hence processes. Only one of
them computes at a time, and each round begins with another entry, so that a drift of the machine meets all alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import multiprocessing
import os
import pickle
import platform
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.benchmark import timer

import csgnn_dgl
from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.errors import InputError

ROOT = Path(__file__).parents[1]
LEAST, SHORTEST = 0.1, 2e-3
"""Seconds that a turn takes at least, and one of a short entry: shorter actions are repeated within it."""


class Built(NamedTuple):
    """An entry once it is built: what can be timed, and values that must agree between entries, by name."""

    actions: Mapping[str, Callable[[], object]]
    outputs: Mapping[str, Tensor] = {}


@dataclasses.dataclass(frozen=True)
class Entry:
    """Something to measure: its process calls `build`, a function of a module, with `options`, plain values."""

    name: str
    build: Callable[..., Built]
    options: Mapping[str, Any]
    keep_blocks: bool = True  # whether its process keeps large blocks of memory, as the programs of this package do
    optional: bool = False  # whether it is left out where it cannot be built, and the results say why
    short: bool = False  # whether it takes microseconds: each turn then begins with a run that does not count


@dataclasses.dataclass(frozen=True)
class Session:
    """How a command shows progress and tells results."""

    progress: Callable[[Iterable[int], str], Iterable[int]] = lambda numbers, title: numbers
    tell: Callable[[str], None] = lambda text: None


class Worker:
    """A process that calls functions, one after the other."""

    def __init__(self, keep_blocks: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, keep_blocks))
        self._process.start()
        theirs.close()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function over there; its ValueErrors come back as an `InputError`, others as a RuntimeError."""
        try:
            self._pipe.send((function, arguments))
            error, result = pickle.loads(self._pipe.recv_bytes())
        except (EOFError, ConnectionError):
            self._process.join()
            raise ended(self._process.exitcode, function.__name__) from None
        if error is not None:
            raise error(result)
        return result

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._pipe.close()
        self._process.join(10 if kind is None else 0)  # it ends by itself, unless it computes
        self._process.kill()
        self._process.join()


def ended(code: int | None, what: str) -> Exception:
    """Return the error that says how a process ended: the user can only mend a lack of memory."""
    if code == -signal.SIGKILL:
        return InputError(
            f"the system ended the measuring process at {what}, most likely for want of memory; lower --batch"
        )
    return RuntimeError(f"the measuring process ended with code {code} at {what}")


def serve(pipe: Any, keep_blocks: bool) -> None:
    """Answer calls until there are no more."""
    if keep_blocks:
        keep_large_blocks()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the program that started this one, and that ends this
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        answer: tuple[type[Exception] | None, Any]
        try:
            answer = None, function(*arguments)
        except (InputError, ValueError) as error:  # what a model refuses came from an option
            answer = InputError, str(error)
        except Exception as error:
            answer = RuntimeError, f"{type(error).__name__}: {error}"
        pipe.send_bytes(pickle.dumps(answer))  # tensors by value: this process may end before they are read


class Workers(contextlib.ExitStack):
    """Two processes at most, by whether they keep large blocks; they end with the context."""

    def __init__(self) -> None:
        super().__init__()
        self._started = dict[bool, Worker]()

    def __getitem__(self, keep_blocks: bool) -> Worker:
        if keep_blocks not in self._started:
            self._started[keep_blocks] = self.enter_context(Worker(keep_blocks))
        return self._started[keep_blocks]


_BUILT: dict[str, Built] = {}


def build(entry: Entry) -> tuple[list[str], Mapping[str, Tensor]]:
    """Build an entry in this process; return the names of its actions, and its outputs."""
    built = _BUILT[entry.name] = entry.build(**entry.options)
    return list(built.actions), built.outputs


def run(name: str, mode: str, short: bool = False) -> float:
    """Run an action as often as fits into a turn, once at least; return the seconds of one run."""
    action = _BUILT[name].actions[mode]
    if short:
        action()
    start = timer()
    action()
    once = max(timer() - start, 1e-9)
    more = max(math.ceil((SHORTEST if short else LEAST) / once) - 1, 0)
    for _ in range(more):
        action()
    return (timer() - start) / (1 + more)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the quartiles and all values."""
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper, "all": [*values]}


class Measured(NamedTuple):
    """Summaries of seconds by entry and mode, and why entries are missing."""

    times: dict[str, dict[str, dict[str, Any]]]
    missing: dict[str, str]


def measure(
    entries: Sequence[Entry],
    repeats: int,
    session: Session,
    title: str,
    verify: Callable[[Mapping[str, Mapping[str, Tensor]]], object] = lambda outputs: None,
    workers: Workers | None = None,
) -> Measured:
    """Build all entries, `verify` what they compute, and time them in turns; a round more before does not count."""
    if workers is None:
        with Workers() as workers:
            return measure(entries, repeats, session, title, verify, workers)
    measured, outputs, turns = Measured({}, {}), {}, []
    for entry in entries:
        try:
            modes, outputs[entry.name] = workers[entry.keep_blocks](build, entry)
            turns += [(entry, mode) for mode in modes]
        except (InputError, RuntimeError) as error:
            if not entry.optional:
                raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            measured.missing[entry.name] = (lines or [type(error).__name__])[0][:200]
    if not turns:
        raise InputError(missing_text(measured.missing))
    verify(outputs)
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in session.progress(range(-1, repeats), title):
        shift = number % len(turns)
        for entry, mode in [*turns[shift:], *turns[:shift]]:
            took = workers[entry.keep_blocks](run, entry.name, mode, entry.short)
            if number >= 0:
                seconds.setdefault((entry.name, mode), []).append(took)
    for entry, mode in turns:
        measured.times.setdefault(entry.name, {})[mode] = summary(seconds[entry.name, mode])
    return measured


def missing_text(missing: Mapping[str, str]) -> str:
    """Say in one line each who did not take part, and why."""
    return "\n".join(f"{name}: not available: {reason}" for name, reason in missing.items())


def held(device: str, peak: bool = True) -> int:
    """Return the bytes that this process holds on a device, or the most that it has held."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    status = Path("/proc/self/status")  # ru_maxrss begins with the peak of the process that started this one
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return 1024 * int(lines["VmHWM" if peak else "VmRSS"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_memory(entry: Entry, steps: int, device: str = "cpu") -> dict[str, float]:
    """Train an entry in a process of its own.

    Returns in bytes the peak of the process, what it held ``before`` the entry was built, and ``added``, the
    difference; and the seconds of the last step.
    """
    with Worker(entry.keep_blocks) as worker:
        worker(len, (entry,))  # libraries do not count as the entry's: the modules of `build` are imported by this
        before = worker(held, device, False)
        worker(build, entry)
        for _ in range(steps):
            seconds = worker(run, entry.name, "training")
        most = worker(held, device)
    return {"peak": most, "before": before, "added": most - before, "seconds": seconds}


def describe(command: str) -> dict[str, Any]:
    """Describe the machine, the versions and the command as plain values."""
    name, flags, versions = platform.processor() or platform.machine(), set[str](), {"csgnn_dgl": csgnn_dgl.__version__}
    if sys.platform.startswith("linux"):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = (part.strip() for part in line.partition(":"))
            name = value if key == "model name" else name
            flags |= set(value.split()) if key in ("flags", "Features") else set()
    for package in ("torch", "dgl", "numpy", "triton"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": bool({"avx512_bf16", "amx_bf16", "bf16"} & flags),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
