"""What TensorBoard shows of a training beside the logged measures: norms, hyperparameters, and the task's pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import lightning.pytorch as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from csgnn_dgl.training.config import load_yaml
from csgnn_dgl.training.resuming import flat
from csgnn_dgl.training.runs import RunFolder
from csgnn_dgl.training.task import Show

Shown = Literal["none", "scalars", "full"]
"""How much TensorBoard gets."""

HYPERPARAMETERS = ("seed_everything", "model.", "data.", "trainer.max_", "trainer.precision", "trainer.gradient_clip")
"""How the names of options begin that the table of runs shows."""


def total_norm(tensors: Iterable[Tensor]) -> float:
    """Return the Euclidean norm of all numbers in tensors, summed in float32 at least; 0 of none."""
    norms = [torch.linalg.vector_norm(tensor.detach().float()) for tensor in tensors]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


class Board(L.Callback):
    """Writes to the TensorBoard log of a run what is looked at while it trains; nothing of the training depends on it.

    Every ``trainer.log_every_n_steps`` steps the norms of gradients (before clipping) and weights, at the end the
    hyperparameters with the measures of the best epoch, and with "full" after each validation what the task shows. Of
    that, what is large comes after the epochs 1, 2, 4, ... and the last one.

    Parameters
    ----------
    folder
        The run folder.
    shown
        "none", "scalars" (norms and hyperparameters) or "full".
    options
        The resolved config as YAML.
    show
        Draws a validation of the task; see `csgnn_dgl.training.task.Show`.
    """

    def __init__(self, folder: RunFolder, shown: Shown = "full", options: str = "", show: Show | None = None) -> None:
        self.folder, self.shown, self.options, self.show = folder, shown, options, show

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        """Log the norms of gradients and weights."""
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.shown == "none" or not trainer.is_global_zero or not every or (step + 1) % every:
            return
        weights = list(pl_module.parameters())
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norms = {"norms/gradients": total_norm(gradients), "norms/weights": total_norm(weights)}
        for log in _logs(trainer):
            log.log_metrics(norms, step)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Let the task draw, unless the answers are not finite."""
        if self.shown != "full" or self.show is None or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.sanity_checking:
            return
        answers, items = pl_module.gathered()
        epoch = trainer.current_epoch + 1
        every = not epoch & (epoch - 1) or epoch == trainer.max_epochs
        if trainer.is_global_zero and len(items) and bool(answers.isfinite().all()):
            for log in _logs(trainer):
                self.show(log.experiment, pl_module, answers[0], items, trainer.global_step, every)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the hyperparameters beside the measures of the best epoch."""
        best = self.folder.best
        if self.shown == "none" or best is None or not trainer.is_global_zero:
            return
        options = flat(load_yaml(self.options, self.folder.run.config_file) or {})
        chosen = {key: value for key, value in options.items() if key.startswith(HYPERPARAMETERS) and value is not None}
        start = "validation/"
        measures = {f"best/{key.removeprefix(start)}": value for key, value in best.items() if key.startswith(start)}
        for log in _logs(trainer):
            log.log_hyperparams(chosen, measures, trainer.global_step)


def _logs(trainer: L.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
