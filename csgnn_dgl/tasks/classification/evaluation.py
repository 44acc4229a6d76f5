"""What a classifier is worth: voting, accuracy with its interval, confusion matrix, error under rotation."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from csgnn_dgl.data import CloudDataset, PointClouds
from csgnn_dgl.data.clouds.augmentation import rotate_clouds
from csgnn_dgl.geometry import random_rotations
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


def mcnemar_p(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the p value of McNemar's exact test: whether two classifiers are right equally often.

    Of the shapes that only one of them has right, each would have half if both were equally good: a two-sided binomial
    test. Without such shapes it is 1.

    Parameters
    ----------
    one, other
        (shapes,) whether each has the same shapes right.
    """
    from scipy.stats import binomtest

    only_one, only_other = int((one & ~other).sum()), int((~one & other).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


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
    predicted
        (num_shapes,) int64: the class that each shape was given.
    """

    rotation: str
    votes: int
    num_shapes: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    class_mean_accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    predicted: NDArray[np.int64] = dataclasses.field(compare=False, repr=False)


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
        predicted=probabilities.argmax(dim=1).numpy(),
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
    points = _some_points(clouds, num_clouds, seed).to(device)
    return so3_error(network.to(device), points, seed=seed)


@dataclasses.dataclass(frozen=True)
class Consistency:
    """How often a classifier's answer survives a rotation.

    Parameters
    ----------
    num_clouds, copies
        Shapes, and rotated copies of each, whose rotations are uniform over SO(3).
    share
        Share of all copies that got the answer of their unrotated shape.
    unchanged
        How many copies of each shape did.
    """

    num_clouds: int
    copies: int
    share: float
    unchanged: tuple[int, ...]


def measure_consistency(
    network: nn.Module,
    clouds: PointClouds,
    device: torch.device | str = "cpu",
    num_clouds: int = 200,
    copies: int = 10,
    batch_size: int = 32,
    seed: int = 0,
) -> Consistency:
    """Measure how often a classifier's answer survives a rotation.

    Parameters
    ----------
    network, clouds, device, num_clouds
        As in `measure_so3_error`, whose shapes are drawn alike.
    copies
        Rotated copies of each shape.
    batch_size
        Clouds per call of the network.
    seed
        Seed of the draw and of the rotations: with the same one, all networks get the same clouds.
    """
    points = _some_points(clouds, num_clouds, seed)
    rng = np.random.default_rng([seed, len(points)])
    network.to(device).eval()

    def answers(batches: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(batch.to(device)).argmax(dim=1).cpu() for batch in batches.split(batch_size)])

    before = answers(points)
    same = torch.zeros(len(points), dtype=torch.int64)
    for _ in range(copies):
        turned = rotate_clouds(points[..., :3], torch.from_numpy(random_rotations(len(points), rng)))
        same += answers(torch.cat([turned, points[..., 3:]], dim=-1)) == before
    return Consistency(len(points), copies, float(same.sum()) / (copies * len(points)), tuple(same.tolist()))


def _some_points(clouds: PointClouds, count: int, seed: int) -> Tensor:
    """Return up to `count` clouds, drawn without repetition, as a classifier gets them: (S, N, 3)."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(clouds))[:count])
    return CloudDataset(clouds).__getitems__(chosen.tolist())["points"]
