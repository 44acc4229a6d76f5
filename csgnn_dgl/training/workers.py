"""Several jobs at a time, each in a process of its own with one thread."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from csgnn_dgl.errors import reason
from csgnn_dgl.models.trust import trusted, trusting

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that libraries read when they are imported."""

Tell = Callable[[Any], None]
"""What a job calls with news of itself: plain values."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Something to be done in a process of its own.

    Parameters
    ----------
    name
        What messages call it.
    function
        Function of a module, called with `arguments` and a `Tell`. It returns plain values.
    arguments
        Plain values.
    log
        File to which everything that is printed goes.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    log: Path


@dataclasses.dataclass(frozen=True)
class News:
    """What became of a job.

    Parameters
    ----------
    name
        Its name.
    kind
        "started"; "told", by the job itself; "done"; or "failed".
    value
        What it told or returned, or in one sentence why it failed.
    """

    name: str
    kind: Literal["started", "told", "done", "failed"]
    value: Any = None


def carry_out_jobs(jobs: Sequence[Job], at_once: int = 1) -> Generator[News]:
    """Do jobs in their order, `at_once` at a time.

    Processes are spawned: a script that calls this has to do so under ``if __name__ == "__main__":``. A job that fails,
    or whose process is killed, leaves the others alone. When the iterator is closed, and when this process ends,
    however it ends, the jobs that still run are ended at once.

    Yields
    ------
    News
        As they come.
    """
    context = multiprocessing.get_context("spawn")
    waiting, running = list(jobs), dict[Connection, tuple[Job, Any]]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, theirs, trusted()), name=job.name)
                with _one_thread():
                    process.start()
                theirs.close()
                running[ours] = job, process
                yield News(job.name, "started")
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                job, process = running[connection]
                try:
                    news = connection.recv()
                except EOFError:
                    process.join()
                    news = News(job.name, "failed", _how_it_ended(process.exitcode))
                if news.kind != "told":
                    del running[connection]
                    connection.close()
                    process.join()
                yield news
    finally:
        for _, process in running.values():
            process.kill()
        for _, process in running.values():
            process.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started now compute with one thread, in all libraries."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(job: Job, connection: Connection, trust: frozenset[str]) -> None:
    """Do a job and send what became of it; files may name there what they may name here."""
    import torch

    from csgnn_dgl.allocator import keep_large_blocks

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    torch.set_num_threads(1)
    keep_large_blocks()
    try:
        with trusting(*trust):
            value = job.function(*job.arguments, lambda told: connection.send(News(job.name, "told", told)))
    except Exception as error:
        traceback.print_exc()
        connection.send(News(job.name, "failed", reason(error)))
    else:
        connection.send(News(job.name, "done", value))


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one, and end: nothing may go on writing its files."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by signal {signal.Signals(-code).name}, as it is where memory runs out"
    return f"its process ended with code {code}"
