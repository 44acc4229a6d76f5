"""Starts trainings in processes of their own, kills or stops them, and has them go on to their end."""

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

import pipelines.dos
import pipelines.modelnet
from tests.toy_shapes import NETWORK, NUM_POINTS, write_shapes
from tests.toy_snapshots import NETWORKS, write_snapshots

PROGRAMS = {"modelnet": pipelines.modelnet.main, "dos": pipelines.dos.main}
WHOLE_BATCH = {"modelnet": 8, "dos": 4}
LONGEST = 300.0
"""Seconds after which a process counts as hanging."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


class KillAtEvent:
    """Kill this process, as by SIGKILL, at the given one of its file events in a folder: open, rename, link, remove."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.left, self.process = str(folder), number, os.getpid()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        known = event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.chmod")
        if not known or os.getpid() != self.process or not str(arguments[0]).startswith(self.folder):
            return
        self.left -= 1
        if not self.left:
            os.kill(self.process, signal.SIGKILL)


def work(program: str, words: list[str], log: str, folder: str, event: int, rank: int, ranks: int, port: int) -> None:
    """Be one process of a training."""
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    if ranks > 1:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none", "GROUP_RANK": 0}
        world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
        os.environ.update({name: str(value) for name, value in {**place, **world}.items()})
    if event:
        sys.addaudithook(KillAtEvent(Path(folder), event))
    code = PROGRAMS[program](words)
    sys.stdout.flush()
    sys.exit(code)


@dataclasses.dataclass
class Training:
    """A training that can be started again and again.

    Parameters
    ----------
    folder
        Folder for data and runs.
    program
        "modelnet" or "dos".
    workers
        Worker processes of the data.
    ranks
        Processes that train together.
    """

    folder: Path
    program: str
    workers: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        self.runs, self.log = self.folder / "runs", self.folder / "log.txt"
        if self.program == "modelnet":
            network: dict[str, Any] = {"class_path": "csgnn_dgl.models.CSGNN", "init_args": {**NETWORK, "dropout": 0.3}}
            data = {"source": str(write_shapes(self.folder / "data")), "num_points": NUM_POINTS}
        else:
            network = {"class_path": "csgnn_dgl.models.AGNI", "init_args": NETWORKS["agni"]}
            data = {"source": str(write_snapshots(self.folder / "data"))}
        shares = {"batch_size": WHOLE_BATCH[self.program] // self.ranks, "num_workers": self.workers}
        content = {
            "model": {"network": network, "learning_rate": 1e-2},
            "data": {**data, **shares},
            "trainer": {"max_epochs": 3, "accelerator": "cpu"},
            "checkpoint_minutes": 0,
        }
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(content))

    def start(self, name: str, event: int = 0) -> list[Any]:
        """Begin or go on with the run of a name; the first process is killed at the given file event."""
        run = self.runs / name
        begun = any((run / "checkpoints" / f"{file}.ckpt").exists() for file in ("last", "previous"))
        words = ["--resume", str(run)] if begun else ["--config", str(self.config), "--runs", str(self.runs)]
        if not begun:
            for number in range(2, 99):  # what was begun without a checkpoint stays as it is
                if run.exists():
                    run = self.runs / f"{name}-{number}"
            words += ["--name", run.name]
        self.run = run
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = []
        for rank in range(self.ranks):
            at = event if rank == 0 else 0
            fixed = ["fit", *words], str(self.log), str(self.runs), at, rank, self.ranks, port
            processes.append(CONTEXT.Process(target=work, args=(self.program, *fixed)))
            processes[-1].start()
        return processes

    def end(self, processes: list[Any]) -> list[int]:
        """Wait until all processes have ended, and return their codes.

        As torchrun does, end the others once one has failed.
        """
        limit = time.monotonic() + LONGEST
        while any(process.is_alive() for process in processes) and time.monotonic() < limit:
            if any(process.exitcode not in (None, 0) for process in processes):
                for process in processes:
                    process.join(20)
                    process.kill()
            time.sleep(0.02)
        hung = [process for process in processes if process.is_alive()]
        for process in hung:
            process.kill()
        for process in processes:
            process.join()
        assert not hung, f"a process hung; see {self.log}"
        return [process.exitcode for process in processes]

    def finish(self, name: str) -> Path:
        """Begin or go on with a run to its end, and return it."""
        codes = self.end(self.start(name))
        assert codes == [0] * self.ranks, self.log.read_text()[-3000:]
        return self.run

    def killed(self, name: str, draw: random.Random, how: str, seconds: float) -> bool:
        """Begin or go on with a run and kill it; return whether that came before its end.

        Parameters
        ----------
        name
            The run.
        draw
            Random numbers.
        how
            "moment", at any; "event", at a file event; or "SIGTERM", which stops it.
        seconds
            How long a training takes.
        """
        if how == "event":
            return self.end(self.start(name, draw.randint(1, 60)))[0] == -signal.SIGKILL
        processes = self.start(name)
        time.sleep(draw.uniform(0.0, seconds))
        number = signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL
        for process in processes if how == "SIGTERM" else [draw.choice(processes)]:
            if process.is_alive():
                os.kill(process.pid, number)
                time.sleep(draw.uniform(0.0, 0.05))
        codes = self.end(processes)
        if how == "SIGTERM":  # before the training has begun it ends at once, with nothing to keep
            assert all(code in (0, 128 + number, -number) for code in codes), self.log.read_text()[-3000:]
        return any(codes)


def found(run: Path) -> dict[str, Any]:
    """Return all that a training has found, but for how long it took."""
    last, best = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    history = json.loads((run / "history.json").read_text())
    return {
        "history": [{key: value for key, value in entry.items() if "second" not in key} for entry in history],
        "best": best["epoch"],
        **{f"last {name}": value for name, value in last["state_dict"].items()},
        **{f"best {name}": value for name, value in best["state_dict"].items()},
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Make sure that two trainings have found the same, to the bit."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name
