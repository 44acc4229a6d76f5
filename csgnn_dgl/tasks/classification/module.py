"""The Lightning module that trains and tests classifiers of point clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.classifiers import Classifier
from csgnn_dgl.tasks.classification.evaluation import Score, score_views
from csgnn_dgl.training.module import TrainingModule, at_least_float32


class ClassificationModule(TrainingModule):
    """Train and test a classifier of point clouds with the cross-entropy loss.

    Measured are the loss, the accuracy over all shapes, and the mean over the classes of their accuracies. `scores`
    are `Score` of every test rotation with and without voting, or of the validation shapes.

    Parameters
    ----------
    network
        Any module that maps points (B, N, 3) to logits (B, num_classes).
    learning_rate, weight_decay, schedule, patience, factor, threshold, minimum_rate
        See `TrainingModule`.
    optimizer, momentum, average, seed
        See `TrainingModule`.
    """

    registry = CLASSIFIERS
    class_names: tuple[str, ...] = ()

    def setup(self, stage: str) -> None:
        """Take the class names from the data.

        Raises
        ------
        InputError
            If the points carry other features than the network takes.
        """
        self.class_names = tuple(self.data.class_names)
        given, taken = getattr(self.data, "num_features", 0), getattr(self.network, "num_features", 0)
        if given != taken:
            raise InputError(
                f"data.features give {given} number(s) of each point beside its position and "
                f"{type(self.network).__name__} takes {taken}; give a network and data that agree, such as CSGNN"
            )
        super().setup(stage)

    def make_measures(self) -> Mapping[str, Metric]:
        """Make the accuracy over all shapes and that over the classes."""
        count = len(self.class_names)
        return {
            "accuracy": MulticlassAccuracy(count, average="micro"),
            "class_accuracy": MulticlassAccuracy(count, average="macro"),
        }

    def checkpoint_description(self) -> dict[str, Any]:
        """Add the class names."""
        return {**super().checkpoint_description(), "class_names": list(self.class_names)}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, num_classes) of the ``points`` (B, N, 3).

        Raises
        ------
        InputError
            If the network gives another shape.
        """
        return self._checked(self.network(batch["points"]), batch)

    def objective(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, ...]]]:
        """Let a classifier of this package say in training what it minimises; see `Classifier.loss`."""
        if not (self.training and isinstance(self.network, Classifier)):
            return super().objective(batch)
        loss, logits = self.network.loss(batch["points"], batch["labels"])
        pair = self._checked(logits, batch), batch["labels"]
        return logits, loss, {"accuracy": pair, "class_accuracy": pair}

    def _checked(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        wanted = (len(batch["points"]), len(self.class_names))
        if logits.shape != wanted:
            raise InputError(
                f"{type(self.network).__name__} gives logits of shape {tuple(logits.shape)} for {wanted[0]} shapes of "
                f"{wanted[1]} classes; let it give {wanted}"
            )
        return logits

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """Cross-entropy of the logits for the ``labels`` (B,)."""
        pair = output, batch["labels"]
        return cross_entropy(at_least_float32(output), batch["labels"]), {"accuracy": pair, "class_accuracy": pair}

    def answers(self, output: Tensor) -> Tensor:
        """Class probabilities (B, num_classes)."""
        return at_least_float32(output).softmax(dim=1).float()

    def score(self, split: Literal["validation", "test"], answers: Tensor, items: Tensor) -> list[Score]:
        """Score every rotation, with and without voting; the validation shapes are turned as those of training."""
        data = self.data
        if split == "test":
            clouds, rotations, votes = data.test_clouds, data.test_rotations, data.votes
        else:
            clouds, rotations, votes = data.validation_clouds, (data.train_rotation,), 1
        views = answers.reshape(len(rotations), votes, *answers.shape[1:])
        labels = torch.as_tensor(clouds.labels)[items]
        self.labels = labels.numpy()
        return score_views(views, labels, tuple(rotations), votes)
