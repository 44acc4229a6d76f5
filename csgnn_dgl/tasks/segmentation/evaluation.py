"""What a model of parts is worth: intersection over union, and how well labels survive rotations."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from csgnn_dgl.data import CloudTransform, PartClouds
from csgnn_dgl.data.clouds.augmentation import rotate_clouds
from csgnn_dgl.geometry import random_rotations


def shape_ious(predicted: Tensor, parts: Tensor, labels: Tensor, allowed: Tensor) -> Tensor:
    """Return the mean intersection over union of each shape, over the parts of its class.

    A part that is neither there nor predicted counts as 1, as everybody counts on ShapeNet's parts.

    Parameters
    ----------
    predicted, parts
        (B, N) int64: parts that the points were given, and those they lie on.
    labels
        (B,) int64 classes.
    allowed
        (classes, parts) bool: which parts each class has.

    Returns
    -------
    torch.Tensor
        (B,) float64 in [0, 1].
    """
    count = allowed.shape[1]
    found, true = (nn.functional.one_hot(of, count).bool() for of in (predicted, parts))
    both = (found & true).sum(dim=1).double()
    either = (found | true).sum(dim=1).double()
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    own = allowed[labels]
    return (iou * own).sum(dim=1) / own.sum(dim=1)


def restricted(logits: Tensor, labels: Tensor, allowed: Tensor) -> Tensor:
    """Return logits (B, N, parts) with those of the parts that a shape's class does not have at minus infinity."""
    return logits.masked_fill(~allowed.to(logits.device)[labels][:, None], -torch.inf)


class ShapeIoU(Metric):
    """Mean over shapes of their intersection over union; see `shape_ious`, whose arguments it is updated with."""

    full_state_update = False
    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, parts: Tensor, labels: Tensor, allowed: Tensor) -> None:
        """Count the shapes of a batch."""
        self.total += shape_ious(predicted, parts, labels, allowed).sum()
        self.count += len(labels)

    def compute(self) -> Tensor:
        """Return the mean, () float32."""
        return (self.total / self.count).float()


@dataclasses.dataclass(frozen=True)
class PartScore:
    """How well parts were found.

    Parameters
    ----------
    rotation
        How the shapes were turned: "none", "z" or "SO3".
    num_shapes
        Shapes tested.
    accuracy
        Share of all points that were given their part.
    iou
        Mean over the shapes of their intersection over union.
    class_iou
        Mean over the classes of the mean over their shapes.
    by_class
        The mean over the shapes of each class, by its name.
    """

    rotation: str
    num_shapes: int
    accuracy: float
    iou: float
    class_iou: float
    by_class: dict[str, float]


def score_parts(predicted: Tensor, clouds: PartClouds, items: Tensor, allowed: Tensor, rotation: str) -> PartScore:
    """Score the parts (items, N) int64 that the points of the shapes `items` (items,) were given."""
    parts, labels = (torch.from_numpy(own)[items] for own in (clouds.parts, clouds.labels))
    ious = shape_ious(predicted, parts, labels, allowed)
    means = {
        name: float(ious[labels == label].mean())
        for label, name in enumerate(clouds.class_names)
        if bool((labels == label).any())
    }
    return PartScore(
        rotation=rotation,
        num_shapes=len(items),
        accuracy=float((predicted == parts).double().mean()),
        iou=float(ious.mean()),
        class_iou=float(np.mean(list(means.values()))),
        by_class=means,
    )


@dataclasses.dataclass(frozen=True)
class PartConsistency:
    """How often the part of a point survives a rotation of its cloud.

    Parameters
    ----------
    num_clouds, copies
        Shapes, and rotated copies of each, whose rotations are uniform over SO(3).
    share
        Share of the points of all copies that were given the part that they have without a rotation.
    """

    num_clouds: int
    copies: int
    share: float


def measure_consistency(
    network: nn.Module,
    clouds: PartClouds,
    allowed: Tensor,
    device: torch.device | str = "cpu",
    num_clouds: int = 100,
    copies: int = 10,
    batch_size: int = 32,
    seed: int = 0,
) -> PartConsistency:
    """Measure how often the part of a point survives a random rotation.

    Parameters
    ----------
    network
        Model that maps points (B, N, 3) to logits (B, N, parts); it is moved to `device`.
    clouds, num_clouds
        The shapes, and how many of them to take, drawn without repetition.
    allowed
        (classes, parts) bool: which parts each class has.
    device
        Where to compute.
    copies
        Rotated copies of each shape.
    batch_size
        Clouds per call of the network.
    seed
        Seed of the draw and of the rotations.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(clouds))[:num_clouds])
    some = clouds.subset(chosen)
    points, labels = CloudTransform()(torch.from_numpy(some.points)), torch.from_numpy(some.labels)
    rng = np.random.default_rng([seed, len(some)])
    network.to(device).eval()

    def answers(turned: Tensor) -> Tensor:
        with torch.no_grad():
            pairs = zip(turned.split(batch_size), labels.split(batch_size), strict=True)
            found = [restricted(network(part.to(device)).cpu(), own, allowed).argmax(dim=2) for part, own in pairs]
        return torch.cat(found)

    before, same = answers(points), 0.0
    for _ in range(copies):
        rotations = torch.from_numpy(random_rotations(len(points), rng))
        same += float((answers(rotate_clouds(points, rotations)) == before).double().mean())
    return PartConsistency(len(some), copies, same / copies)
