"""The folder of one training run: its config, checkpoints, history, logs and figures."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write, remove_leftovers
from csgnn_dgl.models.base import Place, first_not_finite, read_checkpoint, write_checkpoint
from csgnn_dgl.notes import note
from csgnn_dgl.training.agreement import Agreement, world_size
from csgnn_dgl.training.config import read_yaml
from csgnn_dgl.training.figures import history_figure
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.training.lock import FolderLock
from csgnn_dgl.training.results import FILE, Results
from csgnn_dgl.training.resuming import check_options
from csgnn_dgl.training.stopping import Stopped, StopSignals


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training left in its folder; see `RunFolder`.

    Parameters
    ----------
    path
        The folder.
    """

    path: Path

    @classmethod
    def at(cls, place: Run | Place) -> Run:
        """Return the run at a place: a run, its folder, or a checkpoint in it."""
        if isinstance(place, Run):
            return place
        path = Path(place)
        if path.suffix == ".ckpt":
            path = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        return cls(path)

    @classmethod
    def latest(cls, root: Place) -> Run:
        """Return the run under `root` whose last checkpoint is the newest.

        Raises
        ------
        InputError
            If there is none.
        """
        found = sorted(Path(root).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise InputError(f"{root}: there is no run to resume here; start one with fit")
        return cls.at(found[-1])

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def last(self) -> Path:
        """Checkpoint after the latest epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def previous(self) -> Path:
        """Checkpoint before the last one."""
        return self.path / "checkpoints" / "previous.ckpt"

    def whole(self) -> Path:
        """Return the last checkpoint, or its predecessor where the last one is damaged or missing.

        Raises
        ------
        InputError
            If neither can be used; it says why the last one cannot.
        """
        try:
            read_checkpoint(self.last)
        except InputError:
            try:
                read_checkpoint(self.previous)
            except InputError:
                pass
            else:
                return self.previous
            raise
        return self.last

    @property
    def config_file(self) -> Path:
        """The file of the config."""
        return self.path / "config.yaml"

    @property
    def config(self) -> dict[str, Any]:
        """The options of the training."""
        return read_yaml(self.config_file)

    @property
    def history(self) -> list[dict[str, float]]:
        """What was measured in each epoch."""
        return json.loads((self.path / "history.json").read_text(encoding="utf-8"))

    @property
    def results(self) -> Results | None:
        """Results of the first test, if there was one."""
        file = self.path / FILE
        return Results.read(file) if file.is_file() else None

    def free_folder(self) -> Path:
        """Return the folder for the results of a test: the run itself, or a numbered one in it where there are some."""
        folder, number = self.path, 1
        while (folder / FILE).exists():
            number += 1
            folder = self.path / f"test-{number}"
        return folder


def claim_folder(root: Path, name: str) -> Path:
    """Make a new folder ``root/name``, or ``root/name-2``, ``-3``, ... where that exists, and return it."""
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def epoch_is_whole(trainer: L.Trainer) -> bool:
    """Whether the epoch that just ended went over all training batches: not so where max_time or max_steps cut it."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready >= trainer.num_training_batches


class RunFolder(Checkpoint):
    """Keeps the folder of a training run.

    ============================= ================================================================================
    ``config.yaml``               the resolved config, as given
    ``checkpoints/last.ckpt``     after every epoch, every few minutes and at a signal: all that is needed to go on
    ``checkpoints/previous.ckpt`` the one before it, for when that one is damaged
    ``checkpoints/best.ckpt``     the epoch with the best `monitor` (equal ones: the lower validation loss)
    ``history.json``              what was measured in each epoch; optimiser steps, seconds and CPU seconds until then
    ``tensorboard/``              the same, and every step's loss and rate, for TensorBoard
    ``curve.png``                 the same over the epochs: when the training ends, or is interrupted in good order
    ``.lock``                     who trains in the folder
    ============================= ================================================================================

    The folder is made when data and model have been built and training is about to begin. An existing one is never
    written over: a new run gets the next free number instead, and only `resume` continues one, under a lock. Every file
    is written to a temporary name beside it and renamed; checkpoints have a checksum. An epoch that a limit on time or
    steps cuts short is not kept but for its last checkpoint: a resumed run goes on from there and ends where an
    uninterrupted one does.

    Parameters
    ----------
    root
        Folder that holds the runs.
    name
        Name of the run.
    monitor
        Logged quantity that picks the best checkpoint.
    mode
        "max" or "min": whether more or less of it is better.
    panels
        Titles of what is drawn in the curve beside the learning rate, by names without ``train/`` and ``validation/``.
    config
        Text of the resolved config.
    resume
        Run folder to continue instead of making one.
    minutes
        The last checkpoint is written anew within an epoch when it is older; 0 writes one after every step.
    """

    def __init__(
        self,
        root: Place,
        name: str,
        monitor: str = "validation/loss",
        mode: Literal["max", "min"] = "min",
        panels: Mapping[str, str] | None = None,
        config: str = "",
        resume: Run | Place | None = None,
        minutes: float = 10.0,
    ) -> None:
        if not minutes >= 0:
            raise InputError(f"checkpoint_minutes is {minutes}; give a number of at least 0")
        self.minutes, self.signals, self._agreement = minutes, StopSignals(), Agreement()
        self.root, self.name, self.config = Path(root), name, config
        self.begun = None if resume is None else Run.at(resume)
        self.monitor, self.sign, self.panels = monitor, 1.0 if mode == "max" else -1.0, panels or {"loss": "loss"}
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.seconds = self.cpu_seconds = 0.0
        self.lock: FolderLock | None = None
        self._ready = self.started = False
        self._saved = time.monotonic()
        self._epoch_start = time.perf_counter(), time.process_time()

    @property
    def run(self) -> Run:
        """The run; only known once training has begun or where one is continued."""
        if self.begun is None:
            raise RuntimeError("the run folder is made when training begins")
        return self.begun

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the folder (on one process) and attach the TensorBoard log."""
        if stage != "fit" or self._ready:
            return
        made, refused = self._make() if trainer.is_global_zero else ("", "")
        made, refused = trainer.strategy.broadcast((made, refused))
        if refused:
            raise InputError(refused)
        self.begun = Run(Path(made))
        self.signals.activate()  # before workers are started
        trainer.strategy.checkpoint_io = SealedCheckpoints()
        trainer.loggers = [*trainer.loggers, TensorBoardLogger(self.run.path, name="tensorboard", version="")]
        self._ready = True

    def _make(self) -> tuple[str, str]:
        """Make the folder, or see that the begun one can be gone on with; return it, or why not."""
        try:
            new = self.begun is None
            run = Run(claim_folder(self.root, self.name)) if self.begun is None else self.begun
            self.lock = FolderLock(run.path)
            self.lock.acquire()
            if new:
                _write_text(run.config_file, self.config)
            else:
                remove_leftovers(run.path)
                repair(run)
        except InputError as error:
            return "", str(error)
        except OSError as error:
            return "", f"{error.filename or self.root}: {error.strerror}; free space, or choose another folder (--runs)"
        return str(run.path), ""

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let others train in the folder."""
        if stage == "fit":
            self.signals.deactivate()
            if self.lock is not None:
                self.lock.release()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals back from Lightning, whose handlers wait for other processes, and count the minutes."""
        self.started = True
        self.signals.activate()
        self._saved = time.monotonic()
        self._epoch_start = time.perf_counter(), time.process_time()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the last checkpoint anew when it is old or a signal has come, and end the training at a signal.

        That is between two steps of the optimiser only, where no gradients are gathered, and never after the last batch
        of an epoch or before a validation: the epoch's end is soon.

        Raises
        ------
        Stopped
            If a signal came, in whichever process.
        """
        done = batch_idx + 1
        if done >= trainer.num_training_batches or done % trainer.accumulate_grad_batches:
            return
        if trainer.val_check_batch and done % trainer.val_check_batch == 0:
            return
        old = trainer.is_global_zero and time.monotonic() - self._saved >= 60 * self.minutes
        number, due = self._agreement.largest(self.signals.number, old)
        if number or due:
            self._count_time()
            self._save(trainer, self.run.last)
        if number:
            raise Stopped(number)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._epoch_start = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write history and checkpoints of the epoch."""
        epoch = trainer.current_epoch
        if not epoch_is_whole(trainer) or (self.history and self.history[-1]["epoch"] >= epoch):
            return
        measured = {key: float(value) for key, value in trainer.callback_metrics.items() if "step" not in key}
        self._count_time()
        spent = {"steps": trainer.global_step, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        entry = {"epoch": float(epoch), **spent, **dict(sorted(measured.items()))}
        self.history.append(entry)
        measured_finite = all(math.isfinite(entry.get(key, 0.0)) for key in (self.monitor, "validation/loss"))
        if not measured_finite:
            note(self.run.path, f"epoch {epoch + 1} was validated with a result that is not finite; it is not ranked")
        ranked = self.monitor in entry and measured_finite
        improved = ranked and (self.best is None or self._rank(entry) > self._rank(self.best))
        if improved:
            self.best = entry
        if trainer.is_global_zero:
            _write_text(self.run.path / "history.json", json.dumps(self.history, indent=1))
        if improved or (self.best is None and measured_finite):
            self._save(trainer, self.run.best)
        self._save(trainer, self.run.last)
        if number := self._agreement.largest(self.signals.number)[0]:
            raise Stopped(number)

    def _count_time(self) -> None:
        now = time.perf_counter(), time.process_time()
        self.seconds += now[0] - self._epoch_start[0]
        self.cpu_seconds += now[1] - self._epoch_start[1]
        self._epoch_start = now

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the training curve."""
        if trainer.is_global_zero and self.history:
            with atomic_write(self.run.path / "curve.png") as file:
                save_figure(history_figure(self.history, self.panels), file)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Draw what there is of it."""
        try:
            if not isinstance(exception, OSError):
                self.on_train_end(trainer, pl_module)
        finally:
            self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        """History, best epoch, time so far and what all this was made with."""
        spent = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
        threads = {"threads": torch.get_num_threads(), "processes": world_size()}
        return {"history": self.history, "best": self.best, "config": self.config, **threads, **spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them.

        Raises
        ------
        InputError
            If the options are not those that the training began with.
        """
        if self.config and self.begun is not None:  # else a checkpoint is only tested
            begun = state_dict.get("config") or self.run.config_file.read_text(encoding="utf-8")
            check_options(self.run.path, begun, self.config)
        for what, now in (("threads", torch.get_num_threads()), ("processes", world_size())):
            if self.begun is not None and (before := state_dict.get(what, now)) != now:
                note(
                    self.run.path, f"goes on with {now} {what}, where it had {before}: sums may differ in the last bits"
                )
        self.history = list(state_dict["history"])
        self.best = state_dict["best"]
        self.seconds = float(state_dict["seconds"])
        self.cpu_seconds = float(state_dict.get("cpu_seconds", 0.0))

    def _rank(self, entry: dict[str, float]) -> tuple[float, float]:
        return self.sign * entry[self.monitor], -entry.get("validation/loss", 0.0)

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        """Write a checkpoint, unless a weight is not finite."""
        network: Any = trainer.lightning_module.network
        if name := first_not_finite(network.state_dict().items()):
            raise InputError(
                f"epoch {trainer.current_epoch + 1}: the weights {name} are not finite and no checkpoint is written; "
                f"{self.run.last} is the last finite one, if it is there; lower model.learning_rate"
            )
        if path == self.run.last and trainer.is_global_zero and path.is_file():
            second_name(path, self.run.previous)
        trainer.save_checkpoint(path)
        if path == self.run.last:
            self._saved = time.monotonic()


class SealedCheckpoints(TorchCheckpointIO):
    """How Lightning writes checkpoints here: beside the target, through to the disk, with a checksum."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Place, storage_options: Any = None) -> None:
        """Write one."""
        write_checkpoint(path, checkpoint)


def second_name(path: Path, name: Path) -> None:
    """Give a file a second name, also where something has that name."""
    with atomic_write(name) as temporary:
        temporary.unlink()
        try:
            os.link(path, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(path, temporary)


def repair(run: Run) -> None:
    """Put the predecessor of a damaged or missing last checkpoint in its place, and say so.

    Raises
    ------
    InputError
        If there is none that can be used.
    """
    whole = run.whole()
    if whole == run.last:
        return
    if run.last.exists():
        damaged = run.last.with_name("damaged.ckpt")
        run.last.replace(damaged)
        note(run.last, f"is damaged and kept as {damaged.name}; the training goes on from {whole.name}, which is older")
    else:
        note(run.last, f"is missing; the training goes on from {whole.name}")
    second_name(whole, run.last)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write_text(text, encoding="utf-8")
