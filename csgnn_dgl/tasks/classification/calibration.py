"""How far the probabilities of a classifier can be believed: temperature scaling and reliability."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

NUM_BINS = 15
"""Bins of equal width in which confidence is compared with accuracy."""

LARGEST_CHANGE = 100.0
"""Temperatures between one over this and this are tried."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T for which the probabilities softmax(logits / T) fit the labels best.

    It is the one number that is fitted (Guo et al., 2017), by the least mean cross-entropy; no answer changes. Labels
    count as if one of all shapes and two more were wrong (Platt, 1999): where every answer is right, the least
    cross-entropy would be that of absolute certainty.

    Parameters
    ----------
    logits
        (shapes, classes) of shapes that were not trained on.
    labels
        (shapes,) int64 true classes.

    Returns
    -------
    float
        T, between 1/100 and 100; above 1 where the network is too sure.
    """
    from scipy.optimize import minimize_scalar

    logits = logits.double()
    count, num_classes = logits.shape
    wrong = 1 / (count + 2)
    truth = one_hot(labels, num_classes).double()
    targets = (1 - wrong) * truth + wrong / (num_classes - 1) * (1 - truth)

    def loss(logarithm: float) -> float:
        return float(cross_entropy(logits / np.exp(logarithm), targets))

    bound = float(np.log(LARGEST_CHANGE))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """How often answers are right that are given with some confidence.

    Attributes
    ----------
    confidence, accuracy
        (bins,) float64: mean probability of the answers in each bin, and the share of them that is right; 0 in an
        empty bin.
    counts
        (bins,) int64: answers in each bin.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor, num_bins: int = NUM_BINS) -> Reliability:
        """Sort the answers of probabilities (shapes, classes) for labels (shapes,) into bins of confidence."""
        confidence, answers = probabilities.double().max(dim=1)
        places = torch.clamp((confidence * num_bins).long(), max=num_bins - 1)
        counts = torch.bincount(places, minlength=num_bins)
        sums = [
            torch.bincount(places, weights=values, minlength=num_bins)
            for values in (confidence, (answers == labels).double())
        ]
        means = [(total / counts.clamp(min=1)).numpy() for total in sums]
        return cls(means[0], means[1], counts.numpy())

    @property
    def error(self) -> float:
        """Expected calibration error: mean over the answers of |confidence - accuracy| of their bins."""
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())
