"""The Lightning module that trains and tests classifiers of point clouds."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import config_of, plain
from csgnn_dgl.tasks.classification.evaluation import Score, score_confusion, score_views
from csgnn_dgl.training.module import Schedule, Throughput, TrainingModule, at_least_float32


class StageMeasures(nn.Module):
    """What is measured over the shapes of one epoch: mean loss, accuracy, and its mean over the classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.class_accuracy = MulticlassAccuracy(num_classes, average="macro")


class ClassificationModule(TrainingModule):
    """Train and test a classifier of point clouds with the cross-entropy loss.

    Logs loss, accuracy (over all shapes), the mean over classes of the accuracy, learning rate and samples per second,
    for training and validation. After testing, `scores` holds the results for every test rotation with and without
    voting; after validating, the result on the validation shapes.

    Parameters
    ----------
    network
        Classifier that maps points (B, N, 3) to logits (B, num_classes).
    learning_rate, weight_decay, schedule, patience, factor, threshold, minimum_rate, seed
        See `TrainingModule`.
    """

    registry = CLASSIFIERS

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
        super().__init__(
            network, learning_rate, weight_decay, schedule, patience, factor, threshold, minimum_rate, seed
        )
        self.num_classes = int(config_of(network)["num_classes"])
        self.class_names: tuple[str, ...] = ()
        self.scores: list[Score] = []
        self.loss = nn.CrossEntropyLoss()
        self.train_measures = StageMeasures(self.num_classes)
        self.validation_measures = StageMeasures(self.num_classes)
        self.validation_confusion = MulticlassConfusionMatrix(self.num_classes)

    def setup(self, stage: str) -> None:
        """Take the class names from the data."""
        self.class_names = tuple(self.trainer.datamodule.class_names)  # type: ignore[attr-defined]

    def checkpoint_description(self) -> dict[str, Any]:
        """Return the network's config, the class names, how it is trained, and the format number, as plain values."""
        description = {**super().checkpoint_description(), "class_names": list(self.class_names)}
        if self._trainer is not None:
            description["training"] = plain(self.trainer.datamodule.description())  # type: ignore[attr-defined]
        return description

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_classes) of points (B, N, 3)."""
        return self.network(points)

    def _step(self, stage: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = batch["labels"]
        logits = self.network(batch["points"])
        loss = self.loss(at_least_float32(logits), labels)
        size = len(labels)
        measures = self.train_measures if stage == "train" else self.validation_measures
        with torch.no_grad():
            measures.loss.update(loss.detach(), weight=size)
            measures.accuracy.update(logits.detach(), labels)
            measures.class_accuracy.update(logits.detach(), labels)
            if stage == "validation":
                self.validation_confusion.update(logits.detach(), labels)
        for name in ("loss", "accuracy", "class_accuracy"):
            self.log(f"{stage}/{name}", getattr(measures, name), on_step=False, on_epoch=True, batch_size=size)
        return loss

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Cross-entropy of one batch with keys points (B, N, 3), labels (B,) and index (B,)."""
        loss = self._step("train", batch)
        # the mean over the processes, whose batches are equally large: the loss of the whole batch
        self.log("train/step_loss", loss.detach(), on_step=True, on_epoch=False, prog_bar=True, sync_dist=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Log the throughput."""
        self.count_samples("train", len(batch["labels"]))

    def on_validation_epoch_start(self) -> None:
        """Begin to count shapes and to measure the throughput of validation."""
        self.validation_throughput = Throughput()
        self.validation_confusion.reset()

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        """Add one batch to the validation loss, accuracies and confusion matrix."""
        self._step("validation", batch)
        rate = self.validation_throughput.add(len(batch["labels"])) * self.trainer.world_size
        self.log("validation/samples_per_second", rate, on_step=False, on_epoch=True, reduce_fx="max")

    def on_validation_epoch_end(self) -> None:
        """Score the validation shapes of all processes."""
        rotation = self.trainer.datamodule.train_rotation  # type: ignore[attr-defined]
        self.scores = [score_confusion(self.validation_confusion.compute(), rotation)]

    def on_test_start(self) -> None:
        """Make room for the class probabilities of every view (rotation and vote) of every shape."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        shape = (len(data.views), len(data.test_clouds), self.num_classes)
        self.probabilities = torch.zeros(shape, device=self.device)
        self.seen = torch.zeros(shape[:2], device=self.device)

    def test_step(self, batch: dict[str, torch.Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Store the class probabilities of one batch of the view `dataloader_idx`."""
        probabilities = at_least_float32(self.network(batch["points"])).softmax(dim=1).float()
        self.probabilities[dataloader_idx].index_copy_(0, batch["index"], probabilities)
        self.seen[dataloader_idx].index_fill_(0, batch["index"], 1.0)

    def on_test_epoch_end(self) -> None:
        """Gather the probabilities of all processes and score them."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        probabilities = self.trainer.strategy.reduce(self.probabilities, reduce_op="sum").cpu()
        seen = self.trainer.strategy.reduce(self.seen, reduce_op="sum").cpu()
        probabilities = probabilities / seen.clamp(min=1.0)[..., None]
        tested = (seen > 0).all(dim=0)
        rotations, votes = tuple(data.test_rotations), data.votes
        views = probabilities[:, tested].reshape(len(rotations), votes, -1, self.num_classes)
        labels = torch.as_tensor(data.test_clouds.labels)[tested]
        self.scores = score_views(views, labels, rotations, votes)
        for result in self.scores:
            name = f"test/{result.rotation}" + (f"_votes{result.votes}" if result.votes > 1 else "")
            self.log(f"{name}/accuracy", result.accuracy, rank_zero_only=True)
