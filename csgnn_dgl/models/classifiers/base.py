"""What classifiers of point clouds share."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.base import Model, Registry
from csgnn_dgl.models.pose import Pose, check_pose, posed, posed_for_training, turns

CLASSIFIERS: Registry[Classifier] = Registry(
    "classification", "classifier of point clouds", "csgnn_dgl.models.classifiers"
)
"""The classifiers of point clouds by their names on the command line and in checkpoints."""


class Classifier(Model):
    """A classifier of point clouds: a call maps points (B, N, 3) to logits (B, num_classes).

    A subclass says in `forward_points` how it classifies clouds as they are. An ``nn.Module`` from elsewhere with the
    same call, whose constructor takes `num_classes`, is a classifier too.

    With a pose, clouds are turned into the frame of their principal axes first, and the logits are the mean over those
    frames that the model tells apart: they are the same for every rotation of a cloud. Gradients by the points include
    the turning of the frame.

    Parameters
    ----------
    num_classes
        Number of logits.
    pose
        "none"; "principal": the frames along the principal axes by descending variance, one pass for a model with
        icosahedral symmetry, four for one without any; "principal24": in any order, two passes or 24. In training, one
        frame is drawn for each cloud, and turned as far as the axes are uncertain (`csgnn_dgl.models.pose`).
    smoothing
        Share ε of the target that the wrong classes have, each the same: the loss is that of
        (1 - ε) for the true class and ε / (num_classes - 1) for each other.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a pose is given to a model with a `forward` of its own.

    Attributes
    ----------
    class_names
        Names of the classes, if the weights came from a checkpoint that has them.
    one_graph
        Whether torch can compile the model whole and export it.
    """

    registry = CLASSIFIERS
    forward_points: Callable[[Tensor], Tensor]
    class_names: tuple[str, ...] = ()
    one_graph: ClassVar[bool] = True

    def __init__(self, num_classes: int = 40, pose: Pose = "none", smoothing: float = 0.0) -> None:
        super().__init__()
        check_counts(num_classes=num_classes)
        check_pose(pose)
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1, not {smoothing!r}")
        self.num_classes, self.pose, self.smoothing = num_classes, pose, smoothing
        if type(self).forward is Classifier.forward and not hasattr(self, "forward_points"):
            raise TypeError(f"{type(self).__name__} does not say how it classifies; give it a method forward_points")
        if pose != "none":
            if type(self).forward is not Classifier.forward:
                raise ValueError(
                    f"pose is {pose!r} and {type(self).__name__} has a forward of its own, which knows none; call it "
                    "forward_points"
                )
            self._turns = turns(pose, type(self).symmetry)
            self.symmetry = "SO3"

    def forward(self, points: Tensor) -> Tensor:
        """Classify point clouds, in their pose if the model has one.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length; behind them whatever else the model takes of each point, which
            stays as it is.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin, or as the
            model's `forward_points` does.
        """
        if self.pose == "none" or self.training:
            return self.forward_points(self.pose_for_training(points))
        positions = posed(scale_to_unit_ball(points[..., :3]))
        rotations = torch.as_tensor(self._turns, dtype=positions.dtype, device=positions.device)
        logits = [self.forward_points(_with_positions(points, positions @ rotation.mT)) for rotation in rotations]
        return torch.stack(logits).mean(dim=0)

    def pose_for_training(self, points: Tensor) -> Tensor:
        """Return the clouds in the pose that a training step sees; without a pose, as they are."""
        if self.pose == "none":
            return points
        positions = posed_for_training(scale_to_unit_ball(points[..., :3]), torch.as_tensor(self._turns))
        return _with_positions(points, positions)

    def loss(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a training step minimises, and the logits.

        Here the cross-entropy of the logits, with smoothed labels; a model whose authors add to it, or answer several
        times for each cloud, does it in its own.

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
        return self.cross_entropy(logits, labels), logits

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, num_classes) with smoothed labels (B,): a mean, float32 or wider."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.smoothing == 0:
            return cross_entropy(logits, labels)
        logs = log_softmax(logits, dim=1)
        true = logs.gather(1, labels[:, None]).squeeze(1)
        others = (logs.sum(dim=1) - true) / max(self.num_classes - 1, 1)
        return -((1 - self.smoothing) * true + self.smoothing * others).mean()


def _with_positions(points: Tensor, positions: Tensor) -> Tensor:
    """Return points (B, N, 3 + K) with other positions (B, N, 3)."""
    return positions if points.shape[-1] == 3 else torch.cat([positions, points[..., 3:]], dim=-1)
