"""The Lightning module that trains and tests models of parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, Metric

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.segmenters import SEGMENTERS
from csgnn_dgl.tasks.segmentation.data import allowed_parts
from csgnn_dgl.tasks.segmentation.evaluation import PartScore, ShapeIoU, restricted, score_parts
from csgnn_dgl.training.module import TrainingModule, at_least_float32


class PartModule(TrainingModule):
    """Train and test a model of parts with the cross-entropy loss of every point.

    The class of a shape is known, as is usual in this task: a point can only be given a part of its class. Measured
    are the loss, the share of the points that got their part, and the mean over shapes of the intersection over union.
    `scores` are `PartScore` of every test rotation, or of the validation shapes.

    Parameters
    ----------
    network
        Any module that maps points (B, N, 3) to logits (B, N, num_parts).
    learning_rate, weight_decay, schedule, patience, factor, threshold, minimum_rate, optimizer, momentum, seed
        See `TrainingModule`.
    """

    registry = SEGMENTERS
    allowed: Tensor

    def setup(self, stage: str) -> None:
        """Take down which parts each class has."""
        self.allowed = allowed_parts(self.data.kinds)
        super().setup(stage)

    def make_measures(self) -> Mapping[str, Metric]:
        """Make the accuracy over all points and the intersection over union."""
        return {"accuracy": MeanMetric(), "iou": ShapeIoU()}

    def checkpoint_description(self) -> dict[str, Any]:
        """Add the names of classes and parts."""
        if self._trainer is None:
            return super().checkpoint_description()
        kinds = self.data.kinds
        owners = [kinds.class_names[owner] for owner in kinds.part_classes]
        named = [f"{owner}/{part}" for owner, part in zip(owners, kinds.part_names, strict=True)]
        return {**super().checkpoint_description(), "class_names": list(kinds.class_names), "part_names": named}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, N, num_parts) of the ``points`` (B, N, 3), minus infinity for parts of other classes.

        Raises
        ------
        InputError
            If the network gives another shape.
        """
        logits = self.network(batch["points"])
        wanted = (*batch["points"].shape[:2], self.allowed.shape[1])
        if logits.shape != wanted:
            raise InputError(
                f"{type(self.network).__name__} gives logits of shape {tuple(logits.shape)} for points "
                f"{tuple(batch['points'].shape)} and {wanted[2]} parts; let it give {wanted}"
            )
        return restricted(logits, batch["labels"], self.allowed)

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, tuple[Tensor, ...]]]:
        """Cross-entropy of the logits for the ``parts`` (B, N)."""
        parts, predicted = batch["parts"], output.argmax(dim=2)
        right = (predicted == parts).float()
        seen = predicted, parts, batch["labels"], self.allowed.to(parts.device)
        return cross_entropy(at_least_float32(output).flatten(0, 1), parts.flatten()), {
            "accuracy": (right,),
            "iou": seen,
        }

    def answers(self, output: Tensor) -> Tensor:
        """Part of each point (B, N), as float32, which counts parts exactly."""
        return output.argmax(dim=2).float()

    def score(self, split: Literal["validation", "test"], answers: Tensor, items: Tensor) -> list[PartScore]:
        """Score every rotation; the validation shapes are turned as those of training."""
        data = self.data
        clouds = data.test_clouds if split == "test" else data.validation_clouds
        rotations = data.test_rotations if split == "test" else (data.train_rotation,)
        self.clouds, self.predicted, self.items = clouds, answers.round().to(torch.int64), items
        views = zip(self.predicted, rotations, strict=True)
        return [score_parts(view, clouds, items, self.allowed, rotation) for view, rotation in views]
