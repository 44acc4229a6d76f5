"""The Lightning module that all tasks share: optimiser, schedules, measures of an epoch, answers of a test."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import Registry, arguments_of, check_fits, upgrade
from csgnn_dgl.training.agreement import Agreement
from csgnn_dgl.training.averaging import MovingAverage

Schedule = Literal["plateau", "one_cycle", "cosine", "steps"]
Optimizer = Literal["adam", "adamw", "sgd"]


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """Seed of everything random in one training step, such as dropout, from where the step stands in the run."""
    return int(np.random.SeedSequence([seed, epoch, batch, 0]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def at_least_float32(output: Tensor) -> Tensor:
    """Widen bfloat16, in which losses and probabilities would lose digits, and leave float64 alone."""
    return output.to(torch.promote_types(output.dtype, torch.float32))


def states_of(measure: Metric) -> dict[str, Any]:
    """Return a copy of what a measure has gathered."""
    states = measure.metric_state.items()
    return {name: state.clone() if isinstance(state, Tensor) else list(state) for name, state in states}


def _decaying(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Split groups of parameters into matrices, which decay, and biases and norms, which do not."""
    split = []
    for group in groups:
        vectors = [parameter for parameter in group["params"] if parameter.dim() < 2]
        matrices = [parameter for parameter in group["params"] if parameter.dim() >= 2]
        split += [{**group, "params": matrices}, {**group, "params": vectors, "weight_decay": 0.0}]
    return [group for group in split if group["params"]]


class Throughput:
    """Samples per second between two moments, as a running count."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.samples = 0
        self.start = time.perf_counter()

    def add(self, samples: int) -> float:
        """Count `samples` more and return the samples per second since `restart`."""
        self.samples += samples
        return self.samples / max(time.perf_counter() - self.start, 1e-9)


class Answers:
    """What a network answers for every item of a data set, in each of its views (such as rotated copies).

    Each process fills in the items that it has; `gathered` puts them together.

    Parameters
    ----------
    num_views, num_items
        How many there are.
    """

    def __init__(self, num_views: int, num_items: int) -> None:
        self.shape = (num_views, num_items)
        self.values: Tensor | None = None

    def keep(self, view: int, index: Tensor, values: Tensor) -> None:
        """Keep the answers (B, ...) for the items `index` (B,)."""
        if self.values is None:
            self.values = values.new_zeros((*self.shape, *values.shape[1:]))
            self.times = torch.zeros(self.shape, device=values.device)
        self.values[view].index_copy_(0, index, values)
        self.times[view].index_fill_(0, index, 1.0)

    def gathered(self, strategy: Any) -> tuple[Tensor, Tensor]:
        """Return the answers (views, items, ...) of all processes on the CPU, and which items (items,) have all."""
        assert self.values is not None
        times = strategy.reduce(self.times, reduce_op="sum").cpu()
        values = strategy.reduce(self.values, reduce_op="sum").cpu()
        shared = times.clamp(min=1.0).reshape(*self.shape, *[1] * (values.dim() - 2))
        return values / shared.to(values.dtype), (times > 0).all(dim=0)


class TrainingModule(L.LightningModule, ABC):
    """Training, validation and testing as every task has them.

    Adam, AdamW or SGD with the learning rate of the chosen schedule. Each training step reseeds torch's global
    generator from (seed, epoch, batch), so that the same seed gives the same bits again and a resumed run ends exactly
    where an uninterrupted one does. All processes draw the same: a network that draws for each sample draws for the
    samples of all processes and takes its own, as `csgnn_dgl.nn.SharedDropout` does.

    A task says in a subclass how a batch passes through the network (`forward`), what it costs (`loss`), what else is
    measured (`make_measures`), which answers of a test are kept (`answers`) and what these are worth (`score`). Logged
    are all measures, as ``train/NAME`` and ``validation/NAME``, the learning rate and the samples per second.

    Parameters
    ----------
    network
        The network to train. Its plain-valued ``config`` goes into every checkpoint.
    learning_rate
        The learning rate: the largest one for "one_cycle", else the first.
    weight_decay
        The optimiser's L2 penalty; for "adamw" the share of the learning rate by which matrices shrink at each step,
        and neither biases nor norms.
    schedule
        "plateau": multiply the rate by `factor` when the validation loss has not fallen by the relative `threshold` for
        more than `patience` epochs, and stop once it is below `minimum_rate`. "one_cycle" (`OneCycleLR`) and "cosine"
        (`CosineAnnealingLR`, down to 0) follow a plan over the optimiser steps of the whole training. "steps": multiply
        the rate by `factor` after every `patience` epochs, down to `minimum_rate`.
    patience, factor, threshold, minimum_rate
        The plateau rule, and that of "steps".
    optimizer
        "adam", "adamw", or "sgd" with `momentum`.
    momentum
        Share of the last step that SGD goes on with.
    average
        Share that a moving average of the weights keeps at each step, such as 0.999; the average validates, is kept and
        answers (`csgnn_dgl.training.averaging`). 0 means none.
    seed
        Seed of dropout and of whatever else is random within a training step.

    Attributes
    ----------
    scores
        After testing, what the network is worth on the test data; after validating, on the validation data. What an
        entry is, the task says.
    registry
        The models of the task.
    """

    registry: ClassVar[Registry[Any]]

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float = 2.2e-4,
        weight_decay: float = 2.7e-7,
        schedule: Schedule = "plateau",
        patience: int = 4,
        factor: float = 0.1,
        threshold: float = 1e-3,
        minimum_rate: float = 1e-5,
        optimizer: Optimizer = "adam",
        momentum: float = 0.9,
        average: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if schedule not in get_args(Schedule):
            raise ValueError(f"schedule is {schedule!r}; choose one of {', '.join(get_args(Schedule))}")
        if optimizer not in get_args(Optimizer):
            raise ValueError(f"optimizer is {optimizer!r}; choose one of {', '.join(get_args(Optimizer))}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum!r}; give a number of at least 0 and below 1")
        if schedule == "steps" and patience < 1:
            raise ValueError(f"patience is {patience!r}; schedule steps lowers the rate after 1 or more epochs")
        if not 0 <= average < 1:
            raise ValueError(f"average is {average!r}; give a number of at least 0 and below 1")
        self.optimizer, self.momentum, self.average = optimizer, momentum, average
        self.network, self.seed = network, seed
        self.learning_rate, self.weight_decay, self.schedule = learning_rate, weight_decay, schedule
        self.patience, self.factor, self.threshold, self.minimum_rate = patience, factor, threshold, minimum_rate
        self._agreement = Agreement()
        self.throughput = {"train": Throughput(), "validation": Throughput()}
        self.scores: Sequence[Any] = ()
        # Tables of the grid and averages of norms are the same in all processes: torch would send them at every step.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    @abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the network's output for a batch."""

    @abstractmethod
    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """Return the mean loss of a batch, and what updates the measures of each name."""

    @abstractmethod
    def make_measures(self) -> Mapping[str, Metric]:
        """Make what is measured over an epoch beside the loss, by name."""

    def objective(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, ...]]]:
        """Return the network's output for a batch, and its `loss`; a task may do both at once."""
        output = self(batch)
        return (output, *self.loss(output, batch))

    def answers(self, output: Tensor) -> Tensor:
        """Return what is kept of the output (B, ...) for `score`."""
        return output

    @abstractmethod
    def score(self, split: Literal["validation", "test"], answers: Tensor, items: Tensor) -> Sequence[Any]:
        """Return what the answers are worth.

        Parameters
        ----------
        split
            Which data were answered.
        answers
            (views, items, ...), with the items that have an answer in all views.
        items
            (items,) int64: their places in the data.
        """

    @property
    def data(self) -> Any:
        """The data module of the trainer."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def setup(self, stage: str) -> None:
        """Make what measures an epoch.

        Raises
        ------
        InputError
            If weights in float16 are to be trained.
        """
        half = self.trainer.precision == "16-true" or any(own.dtype == torch.float16 for own in self.parameters())
        if stage == "fit" and half:
            raise InputError(
                f"trainer.precision is {self.trainer.precision!r} and the weights would be float16, whose gradients "
                "vanish and whose steps give NaN; give bf16-true, bf16-mixed or 32-true"
            )
        self.train_measures, self.validation_measures = (
            # a NaN stays a NaN, where torchmetrics would leave it out; "disable" would forget the weights
            nn.ModuleDict({"loss": MeanMetric(nan_strategy=math.nan), **self.make_measures()})
            for _ in range(2)
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups of parameters for the optimiser; the first one learns at `learning_rate`."""
        return [{"params": list(self.network.parameters())}]

    def configure_callbacks(self) -> list[L.Callback]:
        """Return what averages the weights in a training, if something does."""
        fits = self.average > 0 and self.trainer.state.fn == TrainerFn.FITTING
        return [MovingAverage(self.average)] if fits else []

    def configure_optimizers(self) -> Any:
        """Return the optimiser and torch's scheduler of the chosen names.

        Lightning steps a plateau scheduler of the interval "epoch" only after the checkpoints of the epoch have been
        written, so that a resumed run would have missed a step. Counted in batches, once in as many as an epoch has,
        it is stepped between validation and checkpoint.

        Raises
        ------
        InputError
            If a schedule with a plan is to follow a training without an end.
        """
        groups = self.parameter_groups()
        common: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        optimizer: torch.optim.Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=self.momentum, **common)
        elif self.optimizer == "adamw":
            optimizer = torch.optim.AdamW(_decaying(groups), **common)
        else:
            optimizer = torch.optim.Adam(groups, **common)
        self.trainer.fit_loop.setup_data()  # the schedules count its batches
        plan: dict[str, Any] = {"interval": "step"}
        if self.schedule == "plateau":
            plan["scheduler"] = ReduceLROnPlateau(
                optimizer, mode="min", factor=self.factor, patience=self.patience, threshold=self.threshold
            )
            plan |= {"monitor": "validation/loss", "frequency": self.trainer.num_training_batches, "strict": False}
            return {"optimizer": optimizer, "lr_scheduler": plan}
        if self.schedule == "steps":
            batches = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
            self._epoch_steps = max(math.ceil(batches), 1)
            plan["scheduler"] = LambdaLR(optimizer, self._share_after)
            return {"optimizer": optimizer, "lr_scheduler": plan}
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise InputError(f"schedule {self.schedule} has to know when the training ends; give trainer.max_epochs")
        if self.schedule == "one_cycle":
            largest = [group["lr"] for group in optimizer.param_groups]
            plan["scheduler"] = OneCycleLR(optimizer, max_lr=largest, total_steps=int(steps))
        else:
            plan["scheduler"] = CosineAnnealingLR(optimizer, T_max=int(steps))
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def _share_after(self, steps: int) -> float:
        """Return what is left of the rate after steps of the optimiser, under the schedule "steps"."""
        share = self.factor ** (steps // self._epoch_steps // self.patience)
        return min(max(share, self.minimum_rate / self.learning_rate), 1.0)

    def checkpoint_description(self) -> dict[str, Any]:
        """Return what a reader needs to rebuild and use the network, as plain values; see ``checkpoint["csgnn"]``."""
        if self._trainer is None:
            return self.registry.describe(self.network)
        training = {**self.data.description(), **self.description()}
        return self.registry.describe(self.network, training=training, data=self.data.reading())

    def description(self) -> dict[str, Any]:
        """Say what is special about the training, for checkpoints and results."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the network, in plain types only, and what was measured in an unfinished epoch."""
        checkpoint["csgnn"] = self.checkpoint_description()
        if self.data.batches_done():
            measured = {name: states_of(measure) for name, measure in self._measures()}
            checkpoint["measured"] = self._agreement.gathered(measured)

    def _measures(self) -> list[tuple[str, Metric]]:
        return list(self.train_measures.items())  # type: ignore[arg-type]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make sure that the checkpoint fits this network and these classes, and go on with its unfinished epoch."""
        own = self.checkpoint_description()
        path = self.trainer.ckpt_path or "the checkpoint"
        upgrade(checkpoint, path)
        defaults = arguments_of(type(self.network))
        check_fits(path, checkpoint, own["config"], own.get("class_names"), own["model"], defaults)
        if self.trainer.state.fn == TrainerFn.FITTING and "measured" in checkpoint:
            measured = checkpoint["measured"][self.trainer.global_rank]
            for name, measure in self._measures():
                for state, value in measured.get(name, {}).items():  # none of a measure that is new
                    setattr(measure, state, value)

    @property
    def rate(self) -> float:
        """The optimiser's learning rate for the step to come."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def stop_when_spent(self) -> None:
        """End the training once the plateau rule has taken the rate below `minimum_rate`.

        Lightning's `EarlyStopping` looks only after an epoch: a resumed run that had ended would train for one more.
        """
        if self.schedule == "plateau" and self.rate < self.minimum_rate:
            self.trainer.should_stop = True

    def on_train_start(self) -> None:
        """Do not train on when the plateau rule had ended the resumed run, nor under another plan than it began with.

        Raises
        ------
        InputError
            If the resumed run's schedule was planned for another number of steps.
        """
        self.stop_when_spent()
        if self.data.resumes_within_epoch():
            self.go_on_within_epoch()
        scheduler = self.lr_schedulers()
        planned = getattr(scheduler, "total_steps", getattr(scheduler, "T_max", None))
        steps = self.trainer.estimated_stepping_batches
        if planned not in (None, steps):
            raise InputError(
                f"schedule {self.schedule} of this run was planned for {planned} steps and the options make {steps}; "
                "resume it as it was begun, or start a new run for a longer or shorter training"
            )

    def go_on_within_epoch(self) -> None:
        """Do what the beginning of the epoch would have done, of which Lightning tells nobody again."""
        self.throughput["train"].restart()

    def on_train_epoch_start(self) -> None:
        """Begin to measure the throughput of the epoch."""
        self.throughput["train"].restart()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators from (seed, epoch, batch) and log the learning rate."""
        torch.manual_seed(batch_seed(self.seed, self.current_epoch, batch_idx))
        self.log("learning_rate", self.rate, on_step=True, on_epoch=False)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch, which holds an ``index`` (B,) and what the task needs."""
        loss, _ = self._step("train", batch)
        # the mean over the processes, whose batches are equally large: the loss of the whole batch
        self._log("train/step_loss", loss.detach(), batch, on_step=True, prog_bar=True, sync_dist=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Log the throughput."""
        self._log("train/samples_per_second", self._rate("train", batch), batch, on_step=True)

    def on_train_epoch_end(self) -> None:
        """Stop once the rate is spent."""
        self.stop_when_spent()

    def on_validation_epoch_start(self) -> None:
        """Begin to measure the throughput of validation, and make room for its answers."""
        self.throughput["validation"].restart()
        self._make_room(self.trainer.val_dataloaders)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Measure one batch and keep its answers."""
        _, output = self._step("validation", batch)
        self._kept.keep(0, batch["index"], self.answers(output))
        self._log("validation/samples_per_second", self._rate("validation", batch), batch, reduce_fx="max")

    def on_validation_epoch_end(self) -> None:
        """Score the validation data, unless this is a training."""
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self._score("validation")

    def on_test_epoch_start(self) -> None:
        """Make room for the answers."""
        self._make_room(self.trainer.test_dataloaders)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Keep the answers to one batch of the view `dataloader_idx`."""
        self._kept.keep(dataloader_idx, batch["index"], self.answers(self(batch)))

    def on_test_epoch_end(self) -> None:
        """Score the test data."""
        self._score("test")

    def _step(self, stage: str, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        output, loss, seen = self.objective(batch)
        with torch.no_grad():
            measures: Any = self.train_measures if stage == "train" else self.validation_measures
            measures["loss"].update(loss.detach(), weight=len(batch["index"]))
            for name, values in seen.items():
                measures[name].update(*(value.detach() for value in values))
        for name, measure in measures.items():
            self._log(f"{stage}/{name}", measure, batch)
        return loss, output

    def _log(self, name: str, value: Any, batch: dict[str, Tensor], on_step: bool = False, **options: Any) -> None:
        self.log(name, value, on_step=on_step, on_epoch=not on_step, batch_size=len(batch["index"]), **options)

    def _rate(self, stage: str, batch: dict[str, Tensor]) -> float:
        """Count the samples and return how many per second there were so far, in all processes."""
        return self.throughput[stage].add(len(batch["index"])) * self.trainer.world_size

    def _make_room(self, loaders: Any) -> None:
        views = loaders if isinstance(loaders, list) else [loaders]
        self._kept = Answers(len(views), len(views[0].dataset))

    def gathered(self) -> tuple[Tensor, Tensor]:
        """Return the answers of all processes for the items that have all, and the places of these."""
        answers, complete = self._kept.gathered(self.trainer.strategy)
        return answers[:, complete], complete.nonzero().squeeze(1)

    def _score(self, split: Literal["validation", "test"]) -> None:
        answers, items = self.gathered()
        bad = items[~answers.isfinite().transpose(0, 1).flatten(1).all(dim=1)].tolist()
        if bad:
            raise InputError(
                f"{type(self.network).__name__} gives numbers that are not finite for {len(bad)} of {len(items)} "
                f"{split} samples (the first is {bad[0]}); nothing is reported: mend the samples, or test another "
                "checkpoint"
            )
        self.scores = self.score(split, answers, items)
