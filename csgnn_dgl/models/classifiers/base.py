"""What classifiers of point clouds share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from csgnn_dgl.errors import check_counts
from csgnn_dgl.models.base import Model, Registry

CLASSIFIERS: Registry[Classifier] = Registry(
    "classification", "classifier of point clouds", "csgnn_dgl.models.classifiers"
)
"""The classifiers of point clouds by their names on the command line and in checkpoints."""


class Classifier(Model):
    """A classifier of point clouds: a call maps points (B, N, 3) to logits (B, num_classes).

    An ``nn.Module`` from elsewhere with the same call, whose constructor takes `num_classes`, is one too.

    Parameters
    ----------
    num_classes
        Number of logits.

    Attributes
    ----------
    class_names
        Names of the classes, if the weights came from a checkpoint that has them.
    one_graph
        Whether torch can compile the model whole and export it.
    """

    registry = CLASSIFIERS
    class_names: tuple[str, ...] = ()
    one_graph: ClassVar[bool] = True

    def __init__(self, num_classes: int = 40) -> None:
        super().__init__()
        check_counts(num_classes=num_classes)
        self.num_classes = num_classes

    def loss(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a training step minimises, and the logits.

        Here the cross-entropy of the logits; a model whose authors add to it, or answer several times for each cloud,
        does it in its own.

        Parameters
        ----------
        points
            (B, N, 3) positions.
        labels
            (B,) int64 classes.

        Returns
        -------
        tuple of torch.Tensor
            The loss, () float32 or wider, and the logits (B, num_classes).
        """
        logits = self(points)
        return cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels), logits
