"""What classifiers of point clouds share."""

from __future__ import annotations

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
    """

    registry = CLASSIFIERS
    class_names: tuple[str, ...] = ()

    def __init__(self, num_classes: int = 40) -> None:
        super().__init__()
        check_counts(num_classes=num_classes)
        self.num_classes = num_classes
