"""Many trainings under one plan: each in its folder, several at a time, and resumable after any interruption."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.base import Place, plain
from csgnn_dgl.models.trust import trusting
from csgnn_dgl.training.config import class_paths, parse, parser_of, words_of
from csgnn_dgl.training.experiment import evaluate, fit
from csgnn_dgl.training.results import FILE, Results
from csgnn_dgl.training.runs import Run
from csgnn_dgl.training.task import find_task
from csgnn_dgl.training.workers import Job, Tell, carry_out_jobs

PLAN = "plan.json"
"""File of the plan in the folder of a sweep."""

LOCK = ".lock"
"""File that is locked while somebody carries a sweep out."""

VERSION = 1
"""Version of the form of `PLAN`."""

WARM_UP, TIMED, TIMED_VALIDATION = 2, 8, 4
"""Training batches that are not timed, training batches that are, and validation batches that are."""

SILENCE = 30.0
"""Seconds between two lines about the trainings that run."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One training and its test, or the test of a training.

    Parameters
    ----------
    name
        Name of its folder.
    row
        Those that share it are of one model and take equally long: their steps are timed once.
    config
        Options of the training, as for `csgnn_dgl.training.fit`, with the ``task``; the sweep adds how many epochs.
    run
        Run folder that is tested instead of training one; then ``task`` and ``trainer`` of the options are what counts.
        A name without a folder is another entry of the sweep.
    test
        Options of the test, as for `csgnn_dgl.training.evaluate`.
    """

    name: str
    row: str
    config: Mapping[str, Any]
    run: str | None = None
    test: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether it tests the training of another entry."""
        return self.run is not None and len(Path(self.run).parts) == 1

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.+=-]*", self.name):
            raise InputError(f"{self.name!r} names no folder; give letters, digits and . _ + = - only")


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long each training is: a number of epochs, or as many whole ones as fit into minutes of one core.

    Minutes become epochs once, before the training: some steps are timed in seconds of the processor.

    Parameters
    ----------
    epochs, minutes
        One of them.
    """

    epochs: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.minutes is None):
            raise InputError("a budget is a number of epochs or of minutes; give one of --epochs and --minutes")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"--epochs is {self.epochs}; give a whole number of at least 1")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"--minutes is {self.minutes}; give a number above 0")

    def epochs_for(self, seconds: float) -> int:
        """Return how many epochs of so many seconds fit into it, at least 1."""
        return self.epochs or max(1, math.floor(60 * (self.minutes or 0.0) / seconds))


class Sweep:
    """The folder of a sweep.

    ======================  ==========================================================================
    ``plan.json``           entries, budget, and the epochs that it comes to
    ``NAME/``               run folder of an entry, with the results of its test
    ``logs/NAME.log``       what its process had to say
    ======================  ==========================================================================

    Parameters
    ----------
    folder
        The folder.

    Attributes
    ----------
    trust
        Import paths that the entries given to `begin` name: its trainings and tests may name them. What stands in
        ``plan.json`` alone is that of a file; see `csgnn_dgl.models.trust`.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = Path(folder)
        self.plan: dict[str, Any] = {}
        self.trust: frozenset[str] = frozenset()
        if (self.folder / PLAN).is_file():
            self.plan = _read(self.folder / PLAN)

    @property
    def entries(self) -> list[Entry]:
        """What is planned."""
        return [Entry(**item) for item in self.plan["asked"]["entries"]]

    @property
    def budget(self) -> Budget | None:
        """How long each training is; None: as its own options say."""
        asked = self.plan["asked"]["budget"]
        return None if asked is None else Budget(**asked)

    @property
    def facts(self) -> dict[str, Any]:
        """What else is to be kept of the sweep."""
        return self.plan["asked"]["facts"]

    def run(self, entry: Entry) -> Run:
        """Return the run folder of an entry; where it only tests, that of the results."""
        return Run(self.folder / entry.name)

    def trained(self, entry: Entry) -> Run:
        """Return the run that an entry tests."""
        if entry.run is None:
            return self.run(entry)
        return Run(self.folder / entry.run if entry.waits else Path(entry.run))

    def finished(self, entry: Entry) -> bool:
        """Whether an entry has its results."""
        return (self.run(entry).path / FILE).is_file()

    def begin(self, entries: Sequence[Entry], budget: Budget | None, facts: Mapping[str, Any]) -> None:
        """Write down a plan, or make sure that it is the one that was begun.

        Without a budget each training has as many epochs as its own options say.

        Raises
        ------
        InputError
            If an option of an entry is unknown or wrong, if the folder holds another plan, or something else.
        """
        self.trust = frozenset(class_paths([entry.config for entry in entries]))
        planned = [dataclasses.asdict(entry) for entry in entries]
        asked = plain({"budget": budget and dataclasses.asdict(budget), "facts": facts, "entries": planned})
        if self.plan:
            difference = _difference(self.plan["asked"], asked)
            if difference:
                raise InputError(
                    f"{self.folder} was begun under another plan ({difference}); give the same options as then, or "
                    "another --output"
                )
            return
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} is not empty and holds no {PLAN}; give another --output")
        names = [entry.name for entry in entries]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"{twice} is there twice; give each once")
        for entry in entries:
            task = find_task(entry.config["task"])
            with trusting(*self.trust):
                if entry.run is None:
                    parse(parser_of(task, "fit"), words_of([entry.config]))
                parse(parser_of(task, "test"), words_of([{"ckpt_path": entry.name, **entry.test}]))
        self.plan = {"version": VERSION, "asked": asked, "epochs": {}, "seconds_per_epoch": {}, "processors": []}
        trained = [entry for entry in entries if entry.run is None]
        if budget is None:
            self.plan["epochs"] = {entry.row: _own_epochs(entry) for entry in trained}
        elif budget.epochs is not None:
            self.plan["epochs"] = {entry.row: budget.epochs for entry in trained}
        self._write()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make sure that nobody else carries it out meanwhile.

        Raises
        ------
        InputError
            If somebody does.
        """
        with (self.folder / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(
                    f"another process works in {self.folder}; wait for it, or give another --output"
                ) from error
            self.plan = _read(self.folder / PLAN)
            yield

    def carry_out(
        self, jobs: int, say: Callable[[str], None], headline: Callable[[Results], str] = lambda _: "tested"
    ) -> dict[str, str]:
        """Do what is not done yet.

        Parameters
        ----------
        jobs
            Trainings at a time, each in a process of its own with one thread.
        say
            Called with a line of progress.
        headline
            Says in a few words what a test found.

        Returns
        -------
        dict
            Why entries failed, by their names.
        """
        if jobs < 1:
            raise InputError(f"--jobs is {jobs}; give a whole number of at least 1")
        failed: dict[str, str] = {}
        self._note_machine()
        with trusting(*self.trust):
            self._time_epochs(jobs, say, failed)
            new = [entry for entry in self.entries if not self.finished(entry)]
            for waits in (False, True):
                chosen = [entry for entry in new if entry.waits == waits and entry.name not in failed]
                self._carry_out(chosen, jobs, say, headline, failed)
        return failed

    def _note_machine(self) -> None:
        here = processor()
        if here not in self.plan["processors"]:
            self.plan["processors"].append(here)
            self._write()

    def _time_epochs(self, jobs: int, say: Callable[[str], None], failed: dict[str, str]) -> None:
        missing: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.run is None and entry.row not in self.plan["epochs"]:
                missing.setdefault(entry.row, entry)
        if missing:
            say(f"timing some steps of {len(missing)} model(s) to see how many epochs fit")
        budget = self.budget
        work = [Job(row, epoch_seconds, (dict(entry.config),), self._log(row)) for row, entry in missing.items()]
        with closing(carry_out_jobs(work, jobs)) as every:
            for news in every:
                if news.kind == "done":
                    self.plan["seconds_per_epoch"][news.name] = news.value
                    assert budget is not None  # without one nothing is missing
                    self.plan["epochs"][news.name] = budget.epochs_for(news.value)
                    self._write()
                    say(f"{news.name}: {news.value:.2f} s for an epoch, so {self.plan['epochs'][news.name]} epoch(s)")
                elif news.kind == "failed":
                    say(f"{news.name} failed: {news.value} (see {self._log(news.name)})")
                    rows = (entry.name for entry in self.entries if entry.row == news.name and entry.run is None)
                    failed |= dict.fromkeys(rows, news.value)

    def _carry_out(
        self,
        entries: Sequence[Entry],
        jobs: int,
        say: Callable[[str], None],
        headline: Callable[[Results], str],
        failed: dict[str, str],
    ) -> None:
        work, done = [], sum(map(self.finished, self.entries))
        for entry in entries:
            arguments = (str(self.run(entry).path), str(self.trained(entry).path), dict(entry.config))
            arguments += (self.plan["epochs"].get(entry.row), dict(entry.test))  # type: ignore[assignment]
            work.append(Job(entry.name, train_and_test, arguments, self._log(entry.name)))
        running: dict[str, str] = {}
        last = time.monotonic()
        with closing(carry_out_jobs(work, jobs)) as every:
            for news in every:
                if news.kind == "started":
                    running[news.name] = "starts"
                    say(f"{news.name}: {self._what_next(news.name)}")
                elif news.kind == "told":
                    running[news.name] = news.value
                    if time.monotonic() - last > SILENCE:
                        last = time.monotonic()
                        say("; ".join(f"{name}: {where}" for name, where in running.items()))
                else:
                    del running[news.name]
                    if news.kind == "failed":
                        failed[news.name] = news.value
                        say(f"{news.name} failed: {news.value} (see {self._log(news.name)})")
                    else:
                        done += 1
                        results = self.run(self._entry(news.name)).results
                        assert results is not None
                        say(f"{news.name}: {headline(results)}; {done} of {len(self.entries)} finished")

    def _what_next(self, name: str) -> str:
        entry = self._entry(name)
        if entry.run is not None:
            return f"tests {self.trained(entry).path}"
        epochs = self.plan["epochs"][entry.row]
        return f"goes on with {epochs} epoch(s)" if self.run(entry).last.is_file() else f"trains {epochs} epoch(s)"

    def _entry(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _write(self) -> None:
        with atomic_write(self.folder / PLAN) as file:
            file.write_text(json.dumps(self.plan, indent=1), encoding="utf-8")


def train_and_test(
    folder: str, trained: str, config: Mapping[str, Any], epochs: int | None, test: Mapping[str, Any], tell: Tell
) -> None:
    """Carry out one entry from wherever it stands.

    Parameters
    ----------
    folder
        Its run folder, in which the results are written.
    trained
        Run that is tested: the same folder, unless nothing is to be trained.
    config, epochs
        Options of the training, and its epochs.
    test
        Options of the test.
    tell
        Called with the place in the training after every epoch.
    """
    run = Run(Path(folder))
    if folder == trained:
        callbacks = [_Tells(tell)]
        if run.last.is_file():
            fit(resume=run, callbacks=callbacks)
        else:
            shutil.rmtree(run.path, ignore_errors=True)  # begun, but without a whole epoch
            place = {"runs": str(run.path.parent), "name": run.path.name}
            fit([config, {"trainer": {"max_epochs": epochs}}], callbacks=callbacks, **place)
    tell("is tested")
    trainer = {key: config["trainer"][key] for key in ("accelerator", "devices") if key in config.get("trainer", {})}
    evaluate(Run(Path(trained)), task=config["task"], **{"trainer": trainer, **test, "output": folder})


class _Tells(L.Callback):
    """Tells after every epoch how many there were."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.tell(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}")


def epoch_seconds(config: Mapping[str, Any], tell: Tell) -> float:
    """Return how many seconds of the processor an epoch of a training takes, from some of its steps."""
    watch = _Watch()
    few = {"max_epochs": 1, "limit_train_batches": WARM_UP + TIMED, "limit_val_batches": TIMED_VALIDATION + 1}
    with tempfile.TemporaryDirectory() as folder:
        fit([config, {"trainer": few}], callbacks=[watch], runs=folder, name="timed")
    return watch.epoch


class _Watch(L.Callback):
    """Takes the processor's time at the batches of one epoch, with all that lies between them."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {"train": [], "validation": []}
        self.counts = {"train": 0, "validation": 0}

    @property
    def epoch(self) -> float:
        """Seconds of a whole epoch."""
        total = 0.0
        for name, times in self.times.items():
            first = min(WARM_UP if name == "train" else 1, max(len(times) - 2, 0))
            timed = times[first:]
            total += self.counts[name] * (timed[-1] - timed[0]) / (len(timed) - 1)
        return total

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.counts["train"] = len(trainer.train_dataloader)  # type: ignore[arg-type]
        self.times["train"].append(time.process_time())

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.times["train"].append(time.process_time())

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.counts["validation"] = len(trainer.val_dataloaders)  # type: ignore[arg-type]
        self.times["validation"].append(time.process_time())

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.times["validation"].append(time.process_time())


def _own_epochs(entry: Entry) -> int:
    epochs = entry.config.get("trainer", {}).get("max_epochs")
    if epochs is None or epochs < 1:
        raise InputError(f"{entry.row} has no end; give its config trainer.max_epochs of at least 1")
    return epochs


def processor() -> str:
    """Return the name of this machine's processor."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _difference(before: Any, now: Any, place: str = "") -> str:
    """Say where two plans first differ; nothing where they do not."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(key, before.get(key), now.get(key)) for key in [*before, *(key for key in now if key not in before)]]
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return f"{place} were {len(before)} and are {len(now)}"
        pairs = [
            (item["name"] if isinstance(item, dict) and "name" in item else str(number), item, other)
            for number, (item, other) in enumerate(zip(before, now, strict=True))
        ]
    else:
        return "" if before == now else f"{place} was {before!r} and is {now!r}"
    return next(filter(None, (_difference(one, other, f"{place}.{key}".strip(".")) for key, one, other in pairs)), "")


def _read(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        version = plan["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no plan ({type(error).__name__}); give another --output") from error
    if version != VERSION:
        raise InputError(f"{path} has version {version!r} and this one reads {VERSION}; give another --output")
    return plan
