"""What a classifier's class probabilities are worth: voting, accuracy with its interval, confusion matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    With p = k / n and the normal quantile z, its ends are (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n).

    Parameters
    ----------
    correct
        Number of successes k.
    total
        Number of trials n, at least 1.
    confidence
        Probability that the interval covers the true proportion.

    Returns
    -------
    tuple of float
        Lower and upper end, within [0, 1].
    """
    from scipy.stats import binomtest

    interval = binomtest(int(correct), int(total)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def vote(probabilities: torch.Tensor) -> torch.Tensor:
    """Combine the predictions for several rotated copies of each shape: the mean of the softmax outputs.

    Parameters
    ----------
    probabilities
        Class probabilities (votes, shapes, classes).

    Returns
    -------
    torch.Tensor
        Mean over the votes (shapes, classes).
    """
    return probabilities.mean(dim=0)


def confusion_matrix(predicted: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Count the shapes of each true class (rows) by predicted class (columns): (classes, classes) int64."""
    cells = labels.long() * num_classes + predicted.long()
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


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

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        values = dataclasses.asdict(self)
        values["interval"] = list(self.interval)
        values["confusion"] = [list(row) for row in self.confusion]
        return values


def score(probabilities: torch.Tensor, labels: torch.Tensor, rotation: str, votes: int = 1) -> Score:
    """Score class probabilities (shapes, classes) against labels (shapes,) int64."""
    num_classes = probabilities.shape[1]
    confusion = confusion_matrix(probabilities.argmax(dim=1), labels, num_classes)
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


def score_views(
    probabilities: torch.Tensor, labels: torch.Tensor, rotations: tuple[str, ...], votes: int
) -> list[Score]:
    """Score every test rotation, without voting and (where votes > 1) with it.

    Parameters
    ----------
    probabilities
        Class probabilities (len(rotations), votes, shapes, classes). Without voting, vote 0 counts.
    labels
        True classes (shapes,) int64.
    rotations
        Name of each test rotation.
    votes
        Rotated copies of each shape.

    Returns
    -------
    list of Score
        In the order of ``rotations``; the single prediction before the vote.
    """
    scores = []
    for views, rotation in zip(probabilities, rotations, strict=True):
        scores.append(score(views[0], labels, rotation))
        if votes > 1:
            scores.append(score(vote(views), labels, rotation, votes))
    return scores
