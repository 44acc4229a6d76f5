"""Classifying shapes with a trained model."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from csgnn_dgl.data import rotate_clouds
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.notes import note
from csgnn_dgl.tasks.classification.given import Cloud, clouds_of, is_one_shape, transformed
from csgnn_dgl.tasks.classification.trained import BATCH, TrainedClassifier, load_classifier

TOP = 5
"""Classes that are told."""


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A training shape that the classifier sees nearly as it sees a shape.

    Attributes
    ----------
    name
        Its name in the training data, or its number where these have no names.
    label
        Its class.
    distance
        How far it is, in standard deviations within the classes; see
        :class:`~csgnn_dgl.tasks.classification.domain.ShapeDomain`.
    """

    name: str
    label: str
    distance: float


@dataclasses.dataclass(frozen=True)
class Rotated:
    """What a classifier says of randomly rotated copies of a shape.

    Attributes
    ----------
    count
        Copies.
    answers
        How many of them were given which class, the most frequent first.
    lowest
        The least probability that a copy has for the class of the unrotated shape.
    """

    count: int
    answers: dict[str, int]
    lowest: float


@dataclasses.dataclass(frozen=True, eq=False)
class ShapePrediction:
    """What a classifier says of one shape.

    Attributes
    ----------
    name, source
        What the shape is called, and the path of its file, or empty.
    class_names
        All classes.
    probabilities
        (classes,) float64: calibrated on the validation shapes, where the weights have a temperature.
    points
        (N, 3) float32: the cloud as the classifier got it, centred and scaled.
    nearest
        The nearest training shapes, up to three; none where they are not known.
    deviation
        How unlike the training shapes it is, see `csgnn_dgl.tasks.classification.domain.ShapeDomain`: 95 % of the
        validation shapes have up to 1. None where that is unknown.
    rotated
        What became of the answer under rotations, where that was asked for.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float64]
    points: NDArray[np.float32]
    nearest: tuple[Neighbour, ...] = ()
    deviation: float | None = None
    rotated: Rotated | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.class_names[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        """Its probability."""
        return float(self.probabilities.max())

    def top(self, count: int = TOP) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, the first one first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[place], float(self.probabilities[place])) for place in order]

    @property
    def is_outside(self) -> bool:
        """Whether the shape is unlike the training shapes; False where that is unknown."""
        return self.deviation is not None and self.deviation > 1.0


Model = TrainedClassifier | nn.Module | str | os.PathLike[str]


def classify(shapes: Any, model: Model | None = None, rotations: int = 0, up_axis: str = "z") -> Any:
    """Classify shapes.

    Shapes that are unlike the training shapes are told in a note (see `csgnn_dgl.notes`), and by `is_outside` of the
    predictions.

    Parameters
    ----------
    shapes
        A mesh or point file (formats: docs/data.md), points (N, 3) of any unit, or several of either kind, or a folder,
        which stands for all files in it that can be read. Clouds are brought to the number of points that the model
        works with, centred and scaled.
    model
        The name of weights that come with the package, a checkpoint, a run folder, or what
        :func:`~csgnn_dgl.tasks.classification.trained.load_classifier` returned, by default the shipped weights; or a
        bare network. It computes on the device that it is on, in evaluation mode.
    rotations
        Random rotations under which every shape is classified once more; see `Rotated`.
    up_axis
        The axis that points up in the shapes, "z" or "y". It matters to models that were trained on upright shapes.

    Returns
    -------
    ShapePrediction or list of ShapePrediction
        For one file or the points (N, 3) of one cloud, or for each of several.

    Raises
    ------
    InputError
        If a shape cannot be used; the message says which.

    Examples
    --------
    >>> prediction = csgnn_dgl.classify("chair.off")    # doctest: +SKIP
    >>> prediction.label, prediction.probability        # doctest: +SKIP
    ('chair', 0.99)
    """
    trained = _trained(model)
    found = predict_clouds(trained, clouds_of(shapes, trained.num_points, up_axis), rotations)
    return found[0] if is_one_shape(shapes) else found


def _trained(model: Model | None) -> TrainedClassifier:
    if isinstance(model, nn.Module):
        number = getattr(model, "num_points", None) or 1024
        return TrainedClassifier(model, tuple(getattr(model, "class_names", ())), number)
    if model is not None and not isinstance(model, (TrainedClassifier, str, os.PathLike)):
        raise InputError(f"model is {model!r}; give weights by name, a checkpoint or a run folder")
    return model if isinstance(model, TrainedClassifier) else load_classifier(model)


def predict_clouds(model: TrainedClassifier, clouds: Iterable[Cloud], rotations: int = 0) -> list[ShapePrediction]:
    """Classify clouds, some at a time; see :func:`classify`.

    Raises
    ------
    InputError
        If `rotations` is negative, a cloud cannot be used, or an answer is not finite.
    """
    if rotations < 0:
        raise InputError(f"rotations is {rotations}; give 0 or more")
    several = iter(clouds)
    found: list[ShapePrediction] = []
    while part := list(itertools.islice(several, BATCH)):
        found += _predicted(model, part, rotations)
    _tell_outside(found)
    return found


def _predicted(model: TrainedClassifier, clouds: Sequence[Cloud], rotations: int) -> list[ShapePrediction]:
    points = transformed(clouds)
    logits, embeddings = model.answer(points)
    for cloud, answer in zip(clouds, logits, strict=True):
        if not answer.isfinite().all():
            raise InputError(f"{cloud.name}: the model's answer is not finite; its numbers overflow, use other weights")
    probabilities = model.probabilities(logits)
    class_names = model.names(logits.shape[1])
    nearest, deviations = _compared(model, embeddings, class_names)
    rotated = _rotated(model, points, probabilities.argmax(dim=1), rotations, class_names) if rotations else []
    return [
        ShapePrediction(
            cloud.name,
            cloud.source,
            class_names,
            probabilities[place].numpy(),
            points[place].numpy(),
            nearest[place] if nearest else (),
            deviations[place] if deviations else None,
            rotated[place] if rotated else None,
        )
        for place, cloud in enumerate(clouds)
    ]


def _compared(
    model: TrainedClassifier, embeddings: Tensor, class_names: Sequence[str]
) -> tuple[list[tuple[Neighbour, ...]], list[float]]:
    """Return the nearest training shapes of each cloud and its deviation, or nothing where they are not known."""
    domain = model.domain
    if domain is None:
        return [], []
    distances, places = domain.nearest(embeddings)
    labels = domain.labels.tolist()
    neighbours = [
        tuple(
            Neighbour(domain.names[place] if domain.names else str(place), class_names[labels[place]], distance)
            for distance, place in zip(*row, strict=True)
        )
        for row in zip(distances.tolist(), places.tolist(), strict=True)
    ]
    return neighbours, (distances.mean(dim=1) / domain.limit).tolist()


def _rotated(
    model: TrainedClassifier, points: Tensor, answers: Tensor, count: int, class_names: Sequence[str]
) -> list[Rotated]:
    rng = np.random.default_rng(0)
    turns = torch.from_numpy(random_rotations(count, rng))  # the same for all clouds
    told: list[list[int]] = []
    kept = []
    for turn in turns:
        copies = model.probabilities(model.answer(rotate_clouds(points, turn.expand(len(points), 3, 3)))[0])
        told.append(copies.argmax(dim=1).tolist())
        kept.append(copies.gather(1, answers[:, None])[:, 0])
    lowest = torch.stack(kept).amin(dim=0).tolist()
    counts = [Counter(class_names[label] for label in labels) for labels in zip(*told, strict=True)]
    return [Rotated(count, dict(of.most_common()), low) for of, low in zip(counts, lowest, strict=True)]


def _tell_outside(predictions: Sequence[ShapePrediction]) -> None:
    """Tell in one note which shapes are unlike the training shapes, if any are."""
    outside = [found for found in predictions if found.is_outside]
    if not outside:
        return
    farthest = max(outside, key=lambda found: cast(float, found.deviation))
    others = f" (as {len(outside)} of {len(predictions)} shapes are)" if len(outside) > 1 else ""
    note(
        farthest.name,
        f"unlike the training shapes{others}: {farthest.deviation:.1f} times as far from the nearest of them as 95 % "
        f"of the validation shapes are at most, so that its answer, {farthest.label!r}, is to be doubted",
    )
