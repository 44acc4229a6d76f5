"""What a classifier is worth: voting, accuracy with its interval, confusion matrix, error under rotation."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from csgnn_dgl.data import CloudDataset, PointClouds
from csgnn_dgl.symmetry import SO3Error, so3_error


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion.

    With p = k / n and z, the 97.5 % quantile of the normal distribution, its ends are
    (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n).

    Parameters
    ----------
    correct
        Number of successes k.
    total
        Number of trials n, at least 1.

    Returns
    -------
    tuple of float
        Lower and upper end, within [0, 1].
    """
    from scipy.stats import binomtest

    interval = binomtest(int(correct), int(total)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


@dataclasses.dataclass(frozen=True)
class Score:
    """How well one set of predictions meets the labels.

    Parameters
    ----------
    rotation
        How the shapes were turned: "none", "z" or "SO3".
    votes
        Rotated copies whose predictions were averaged for each shape.
    num_shapes, correct
        Shapes tested and shapes classified correctly.
    accuracy
        ``correct / num_shapes``.
    interval
        95 % Wilson interval of the accuracy.
    class_mean_accuracy
        Mean over the classes present of the share of their shapes that were classified correctly.
    confusion
        Counts (true class, predicted class).
    """

    rotation: str
    votes: int
    num_shapes: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    class_mean_accuracy: float
    confusion: tuple[tuple[int, ...], ...]


def score(probabilities: Tensor, labels: Tensor, rotation: str, votes: int = 1) -> Score:
    """Score class probabilities (shapes, classes) of at least one shape against labels (shapes,) int64."""
    confusion = multiclass_confusion_matrix(probabilities, labels, probabilities.shape[1])
    right = confusion.diagonal()
    shapes = confusion.sum(dim=1)
    present = shapes > 0
    total = int(shapes.sum())
    correct = int(right.sum())
    return Score(
        rotation=rotation,
        votes=votes,
        num_shapes=total,
        correct=correct,
        accuracy=correct / total,
        interval=wilson_interval(correct, total),
        class_mean_accuracy=float((right[present].double() / shapes[present]).mean()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def score_views(probabilities: Tensor, labels: Tensor, rotations: tuple[str, ...], votes: int) -> list[Score]:
    """Score every test rotation, without voting and (where votes > 1) with it: the mean of the probabilities.

    Parameters
    ----------
    probabilities
        Class probabilities (len(rotations), votes, shapes, classes). Without voting, vote 0 counts.
    labels
        True classes (shapes,) int64.
    rotations, votes
        Name of each test rotation, in whose order the scores are, and the rotated copies of each shape.
    """
    scores = []
    for views, rotation in zip(probabilities, rotations, strict=True):
        scores.append(score(views[0], labels, rotation))
        if votes > 1:
            scores.append(score(views.mean(dim=0), labels, rotation, votes))
    return scores


def measure_so3_error(
    network: nn.Module, clouds: PointClouds, device: torch.device | str = "cpu", num_clouds: int = 200, seed: int = 0
) -> SO3Error:
    """Measure how much the logits change when shapes of a data set are turned, over the angle.

    Parameters
    ----------
    network
        Classifier that maps points (B, N, 3) to logits (B, classes); it is moved to `device`.
    clouds
        The shapes.
    device
        Where to compute.
    num_clouds
        Shapes to measure, drawn without repetition; all where there are no more.
    seed
        Seed of the draw and of the axes.

    Returns
    -------
    SO3Error
        See `csgnn_dgl.symmetry.so3_error`, with its own angles.
    """
    count = min(num_clouds, len(clouds))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(clouds))[:count])
    points = CloudDataset(clouds).__getitems__(chosen.tolist())["points"].to(device)
    return so3_error(network.to(device), points, seed=seed)
