"""The folder of one training run: its config, checkpoints, history, logs and figures."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.training.figures import draw_history


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


def latest_run(root: Path) -> Path:
    """Return the run folder under `root` whose last checkpoint is the newest.

    Raises
    ------
    InputError
        If there is none.
    """
    found = sorted(root.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"{root}: there is no run to resume here; start one with fit")
    return found[-1].parent.parent


def epoch_is_whole(trainer: L.Trainer) -> bool:
    """Whether the epoch that just ended went over all training batches: not so where max_time or max_steps cut it."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready >= trainer.num_training_batches


class RunFolder(Checkpoint):
    """Keeps the folder of a training run.

    ==========================  ==================================================================================
    ``config.yaml``             the resolved config, as given
    ``checkpoints/last.ckpt``   after every epoch: everything needed to go on exactly
    ``checkpoints/best.ckpt``   the epoch with the largest `monitor` (equal ones: the lower validation loss)
    ``history.json``            what was measured in each epoch
    ``tensorboard/``            the same, and every step's loss and rate, for TensorBoard
    ``curve.png``               loss, accuracy and rate over the epochs, at the end
    ==========================  ==================================================================================

    The folder is made when data and model have been built and training is about to begin. An existing one is never
    written over: a new run gets the next free number instead, and only `resume` continues one. Every file is written to
    a temporary name and renamed. An epoch that a limit on time or steps cuts short is not kept: a resumed run begins it
    anew and ends where an uninterrupted one does.

    Parameters
    ----------
    root
        Folder that holds the runs.
    name
        Name of the run.
    config
        Text of the resolved config.
    resume
        Run folder to continue instead of making one.
    monitor
        Logged quantity that picks the best checkpoint.
    mode
        "max" or "min": whether more or less of it is better.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        name: str,
        config: str = "",
        resume: str | os.PathLike[str] | None = None,
        monitor: str = "validation/accuracy",
        mode: str = "max",
    ) -> None:
        self.root = Path(root)
        self.name = name
        self.config = config
        self.resume = None if resume is None else Path(resume)
        self.folder: Path | None = self.resume
        self.monitor = monitor
        self.sign = 1.0 if mode == "max" else -1.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.seconds = 0.0
        self._ready = False
        self._epoch_start = time.perf_counter()

    @property
    def last(self) -> Path:
        """Checkpoint after the latest epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def path(self) -> Path:
        """The folder; only known once training has begun or where a run is continued."""
        if self.folder is None:
            raise RuntimeError("the run folder is made when training begins")
        return self.folder

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Make the folder (on one process) and attach the TensorBoard log."""
        if stage != "fit" or self._ready:
            return
        if self.folder is None:
            made = str(claim_folder(self.root, self.name)) if trainer.is_global_zero else ""
            self.folder = Path(trainer.strategy.broadcast(made))
            if trainer.is_global_zero:
                _write_text(self.path / "config.yaml", self.config)
        trainer.loggers = [*trainer.loggers, TensorBoardLogger(self.path, name="tensorboard", version="")]
        self._ready = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write history and checkpoints of the epoch."""
        epoch = trainer.current_epoch
        if not epoch_is_whole(trainer) or (self.history and self.history[-1]["epoch"] >= epoch):
            return
        measured = {key: float(value) for key, value in trainer.callback_metrics.items() if "step" not in key}
        now = time.perf_counter()
        self.seconds += now - self._epoch_start
        self._epoch_start = now
        entry = {"epoch": float(epoch), "seconds": self.seconds, **dict(sorted(measured.items()))}
        self.history.append(entry)
        improved = self.monitor in entry and (self.best is None or self._rank(entry) > self._rank(self.best))
        if improved:
            self.best = entry
        if trainer.is_global_zero:
            _write_text(self.path / "history.json", json.dumps(self.history, indent=1))
        if improved or self.best is None:
            self._save(trainer, self.best_checkpoint)
        self._save(trainer, self.last)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the training curve."""
        if trainer.is_global_zero and self.history:
            with atomic_write(self.path / "curve.png") as file:
                draw_history(self.history, file)

    def state_dict(self) -> dict[str, Any]:
        """History, best epoch and seconds so far."""
        return {"history": self.history, "best": self.best, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self.history = list(state_dict["history"])
        self.best = state_dict["best"]
        self.seconds = float(state_dict["seconds"])

    def _rank(self, entry: dict[str, float]) -> tuple[float, float]:
        value = self.sign * entry[self.monitor]
        return (-math.inf if math.isnan(value) else value, -entry.get("validation/loss", 0.0))

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(path)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write_text(text, encoding="utf-8")
