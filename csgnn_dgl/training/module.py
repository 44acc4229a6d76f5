"""Lightning modules: what both experiments share in training, and the classifier."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Literal, get_args

import lightning.pytorch as L
import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.base import Registry, check_fits, upgrade

Schedule = Literal["plateau", "one_cycle", "cosine"]


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """Seed of everything random in one training step, such as dropout, from where the step stands in the run."""
    return int(np.random.SeedSequence([seed, epoch, batch, 0]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def at_least_float32(logits: torch.Tensor) -> torch.Tensor:
    """Widen bfloat16, in which losses and probabilities would lose digits, and leave float64 alone."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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


class TrainingModule(L.LightningModule):
    """Optimiser, schedule and reproducibility that every experiment shares.

    Adam with the learning rate of the chosen schedule. Each training step reseeds torch's global generator from
    (seed, epoch, batch), so that the same seed gives the same bits again and a resumed run ends exactly where
    an uninterrupted one does. All processes draw the same: a network that draws for each sample draws for the samples
    of all processes and takes its own, as `csgnn_dgl.nn.SharedDropout` does. A subclass logs ``validation/loss`` once
    per epoch.

    Parameters
    ----------
    network
        The network to train. Its plain-valued ``config`` goes into every checkpoint.
    learning_rate
        Adam's learning rate: the first one for "plateau" and "cosine", the largest for "one_cycle".
    weight_decay
        Adam's L2 penalty.
    schedule
        "plateau": multiply the rate by `factor` when the validation loss has not fallen by the relative `threshold` for
        more than `patience` epochs, and stop once it is below `minimum_rate`. "one_cycle" (`OneCycleLR`) and "cosine"
        (`CosineAnnealingLR`, down to 0) follow a plan over the optimiser steps of the whole training.
    patience, factor, threshold, minimum_rate
        The plateau rule.
    seed
        Seed of dropout and of whatever else is random within a training step.
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
        seed: int = 0,
    ) -> None:
        super().__init__()
        if schedule not in get_args(Schedule):
            raise ValueError(f"schedule is {schedule!r}; choose one of {', '.join(get_args(Schedule))}")
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.patience = patience
        self.factor = factor
        self.threshold = threshold
        self.minimum_rate = minimum_rate
        self.seed = seed
        self.throughput = Throughput()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the groups of parameters for the optimiser; the first one learns at `learning_rate`."""
        return [{"params": list(self.network.parameters())}]

    def configure_optimizers(self) -> Any:
        """Return Adam and torch's scheduler of the chosen name.

        Lightning steps a plateau scheduler of the interval "epoch" only after the checkpoints of the epoch have been
        written, so that a resumed run would have missed a step. Counted in batches, once in as many as an epoch has,
        it is stepped between validation and checkpoint.

        Raises
        ------
        InputError
            If a schedule with a plan is to follow a training without an end.
        """
        groups = self.parameter_groups()
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, weight_decay=self.weight_decay)
        self.trainer.fit_loop.setup_data()  # the schedules count its batches
        plan: dict[str, Any] = {"interval": "step"}
        if self.schedule == "plateau":
            plan["scheduler"] = ReduceLROnPlateau(
                optimizer, mode="min", factor=self.factor, patience=self.patience, threshold=self.threshold
            )
            plan |= {"monitor": "validation/loss", "frequency": self.trainer.num_training_batches, "strict": False}
            return {"optimizer": optimizer, "lr_scheduler": plan}
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise InputError(f"schedule {self.schedule} has to know when the training ends; give trainer.max_epochs")
        if self.schedule == "one_cycle":
            largest = [group.get("lr", self.learning_rate) for group in groups]
            plan["scheduler"] = OneCycleLR(optimizer, max_lr=largest, total_steps=int(steps))
        else:
            plan["scheduler"] = CosineAnnealingLR(optimizer, T_max=int(steps))
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def checkpoint_description(self) -> dict[str, Any]:
        """Return what a reader needs to rebuild the network, as plain values; goes to ``checkpoint["csgnn"]``."""
        return self.registry.describe(self.network)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of the network, in plain types only."""
        checkpoint["csgnn"] = self.checkpoint_description()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make sure that the checkpoint fits this network and these classes."""
        own = self.checkpoint_description()
        path = self.trainer.ckpt_path or "the checkpoint"
        upgrade(checkpoint, path)
        check_fits(path, checkpoint, own["config"], own.get("class_names"), own["model"])

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
        scheduler = self.lr_schedulers()
        planned = getattr(scheduler, "total_steps", getattr(scheduler, "T_max", None))
        steps = self.trainer.estimated_stepping_batches
        if planned not in (None, steps):
            raise InputError(
                f"schedule {self.schedule} of this run was planned for {planned} steps and the options make {steps}; "
                "resume it as it was begun, or start a new run for a longer or shorter training"
            )

    def on_train_epoch_start(self) -> None:
        """Begin to measure the throughput of the epoch."""
        self.throughput.restart()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators from (seed, epoch, batch) and log the learning rate."""
        torch.manual_seed(batch_seed(self.seed, self.current_epoch, batch_idx))
        self.log("learning_rate", self.rate, on_step=True, on_epoch=False)

    def count_samples(self, stage: str, samples: int) -> None:
        """Log the samples per second of this epoch so far (over all processes), as ``<stage>/samples_per_second``."""
        rate = self.throughput.add(samples) * self.trainer.world_size
        self.log(f"{stage}/samples_per_second", rate, on_step=stage == "train", on_epoch=False, batch_size=samples)

    def on_train_epoch_end(self) -> None:
        """Stop once the rate is spent."""
        self.stop_when_spent()
