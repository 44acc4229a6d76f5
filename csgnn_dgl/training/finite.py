"""Numbers that are not finite: found at the batch that brings them, and never kept, ranked or reported."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import Metric

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.base import first_not_finite
from csgnn_dgl.training.agreement import Agreement
from csgnn_dgl.training.module import states_of
from csgnn_dgl.training.runs import RunFolder

MOST = 16
"""Samples that a message names."""

ELSEWHERE = "another process found a loss that is not finite"

KEPT = "not-finite"
"""Folder in the run folder for the batches that gave numbers that are not finite."""


@dataclasses.dataclass
class Seen:
    """A batch that belongs to the optimiser's next step.

    Parameters
    ----------
    number
        Its place in the epoch, from 0.
    batch
        What it holds.
    loss
        Its loss, once that is known.
    """

    number: int
    batch: Mapping[str, Any]
    loss: Tensor | None = None


class Before:
    """What the network and the measures of an epoch were like, to take back what a batch has done to them.

    Parameters
    ----------
    network
        Its buffers that go into checkpoints are kept, such as running averages; a forward pass changes no weights.
    measures
        Their states are kept.
    """

    def __init__(self, network: nn.Module, measures: Iterable[Metric]) -> None:
        kept = network.state_dict(keep_vars=True)
        self.buffers = [(buffer, buffer.clone()) for name, buffer in network.named_buffers() if name in kept]
        self.states = [(measure, states_of(measure)) for measure in measures]

    @torch.no_grad()
    def restore(self) -> None:
        """Bring it back."""
        for buffer, value in self.buffers:
            buffer.copy_(value)
        for measure, states in self.states:
            for name, state in states.items():
                setattr(measure, name, state)


class FiniteGuard(L.Callback):
    """Stops a training at the first step whose loss or gradients are not finite, before the weights take it.

    The batches of the step are kept in the run folder. With `skip`, such a step is left out and counted instead:
    weights, optimiser, running averages and measures stay as they were, and the learning rate goes on by its plan.
    Weights are looked at before they are validated; `RunFolder` looks at them before it keeps them. Of all processes,
    each learns whether another found something. A network that refuses such input itself cannot skip it; `explain`
    tells then where it stood.

    Parameters
    ----------
    folder
        The run folder.
    skip
        Leave out such steps and count their batches as ``train/skipped_batches``.
    """

    def __init__(self, folder: RunFolder, skip: bool = False) -> None:
        self.folder, self.skip = folder, skip
        self.skipped = 0
        self._agreement = Agreement()
        self._seen: list[Seen] = []
        self._before: Before | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Count the skipped batches anew."""
        self.skipped = 0
        self._seen = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note the batch, and at the beginning of a step what it may have to be taken back to."""
        if self._seen and batch_idx % trainer.accumulate_grad_batches == 0:
            self._seen = []
        if self.skip and not self._seen:
            self._before = Before(pl_module.network, pl_module.train_measures.values())
        self._seen.append(Seen(batch_idx, batch))

    def on_before_backward(self, trainer: L.Trainer, pl_module: Any, loss: Tensor) -> None:
        """Note the loss."""
        self._seen[-1].loss = loss.detach()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Look at losses and gradients.

        Raises
        ------
        InputError
            If one is not finite and is not to be skipped.
        """
        losses = torch.stack([seen.loss for seen in self._seen if seen.loss is not None])
        groups = optimizer.param_groups
        gradients = [own.grad for group in groups for own in group["params"] if own.grad is not None and own.numel()]
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            gradients = []  # the scaler leaves out steps that overflow by itself
        sizes = [*torch._foreach_norm(gradients, math.inf)] if gradients else []
        finite = losses.isfinite().all() & all_finite(sizes).to(losses.device)
        if not self._agreement.largest(not bool(finite))[0]:
            return
        if not self.skip:
            self._stop(trainer, pl_module)
        if name := first_not_finite(pl_module.network.named_parameters()):
            self._stop(trainer, pl_module, f"the weights {name} were not finite, which no skipping of batches mends")
        assert self._before is not None
        self._before.restore()
        optimizer.zero_grad(set_to_none=True)  # a parameter without a gradient is left alone
        self.skipped += len(self._seen)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Look at the weights before they are validated.

        Raises
        ------
        InputError
            If one is not finite.
        """
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and self._seen and (name := first_not_finite(pl_module.network.state_dict().items())):
            self._stop(trainer, pl_module, f"after it the weights {name} are not finite")

    def explain(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Say where a number is not finite, after the network has failed of itself.

        Raises
        ------
        InputError
            If the input or the weights of the last batch are not finite.
        """
        diagnosis = self._diagnosis(pl_module, self._seen[-1:], False)
        if self._seen and self._seen[-1].loss is None and diagnosis != ELSEWHERE:
            self._stop(trainer, pl_module, diagnosis)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log how many batches were skipped.

        Raises
        ------
        InputError
            If all were.
        """
        if self.skip and self.skipped == trainer.num_training_batches:
            self._stop(
                trainer, pl_module, f"all {self.skipped} batches of the epoch were skipped, and this is the last"
            )
        if self.skip:
            pl_module.log("train/skipped_batches", float(self.skipped))

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped batches of the epoch."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.skipped = int(state_dict["skipped"])

    def _stop(self, trainer: L.Trainer, pl_module: Any, what: str = "") -> NoReturn:
        """Keep the batches and say what is not finite."""
        bad = [seen for seen in self._seen if seen.loss is None or not seen.loss.isfinite()]
        kept = bad or self._seen
        run, rank = self.folder.run, trainer.global_rank
        place = run.path / KEPT / (f"epoch-{trainer.current_epoch + 1}-batch-{kept[0].number + 1}-rank-{rank}.npz")
        keep_batches(place, kept)
        last = f"{run.last} is the last finite checkpoint" if run.last.is_file() else "no checkpoint was kept before it"
        samples = [int(index) for seen in kept for index in seen.batch["index"]]
        more = f" and {len(samples) - MOST} more" if len(samples) > MOST else ""
        numbers = " to ".join(str(seen.number + 1) for seen in (kept[0], *kept[1:][-1:]))
        raise InputError(
            f"epoch {trainer.current_epoch + 1}, batch {numbers} of {trainer.num_training_batches} "
            f"(seed {pl_module.seed}; samples {', '.join(map(str, samples[:MOST]))}{more}): "
            f"{what or self._diagnosis(pl_module, kept, bool(bad))}; the batch is kept in {place}, and {last}; lower "
            "model.learning_rate, mend the samples, or leave such batches out with --skip_not_finite true"
        )

    def _diagnosis(self, module: Any, kept: list[Seen], losses: bool) -> str:
        """Say where the first number that is not finite stands: input, weight, loss or gradient."""
        for seen in kept:
            if name := first_not_finite((key, item) for key, item in seen.batch.items() if isinstance(item, Tensor)):
                return f"the input {name} is not finite"
        if name := first_not_finite(module.network.named_parameters()):
            return f"the weights {name} were not finite before it"
        if losses:
            return f"the loss is {float(kept[0].loss)}, of finite input and weights"  # type: ignore[arg-type]
        gradients = ((name, own.grad) for name, own in module.network.named_parameters() if own.grad is not None)
        if name := first_not_finite(gradients):
            return f"the gradient of {name} is not finite, of a finite loss"
        return ELSEWHERE


def all_finite(sizes: list[Tensor]) -> Tensor:
    """Whether all of these numbers are finite, as a tensor that nobody has to wait for."""
    return torch.stack(sizes).isfinite().all() if sizes else torch.tensor(True)


def keep_batches(place: Path, kept: list[Seen]) -> None:
    """Write batches as arrays: ``0/points`` is the points of the first one."""
    arrays: dict[str, Any] = {}
    for number, seen in enumerate(kept):
        arrays[f"{number}/batch"] = np.array(seen.number)
        if seen.loss is not None:
            arrays[f"{number}/loss"] = seen.loss.double().cpu().numpy()
        for name, item in seen.batch.items():
            if isinstance(item, Tensor):
                plain = item.float() if item.dtype == torch.bfloat16 else item
                arrays[f"{number}/{name}"] = plain.detach().cpu().numpy()
    with atomic_write(place) as file:
        np.savez(file, **arrays)
