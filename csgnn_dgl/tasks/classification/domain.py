"""Which training shapes a shape is near to, and whether it is like any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

NUM_NEAREST = 3
"""Training shapes that a shape is compared with."""

LARGEST_SIZE = 32
"""Most numbers that describe a shape."""

QUANTILE = 0.95
"""Share of the validation shapes that count as like the training's."""

SMALLEST_SPREAD = 1e-3
"""Least standard deviation within a class, as a share of the largest: smaller ones would be those of roundings."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeDomain:
    """The training shapes as a classifier sees them, before its last layer.

    The inputs of the last layer are projected on the principal components of the training shapes, 32 at most, and
    turned and scaled so that within the classes all have variance 1. In these numbers the distance of a shape is the
    mean of those to its three nearest training shapes, and its deviation this distance over the one that 95 % of the
    validation shapes do not exceed. It is a simple measure: a shape of a large deviation is unlike all of the training,
    but one of a small deviation may be unlike them too, in what the classifier has not learnt to see.

    Attributes
    ----------
    mean
        (D,) float32: mean input of the last layer.
    projection
        (D, K) float32: from inputs less the mean to the K numbers.
    references
        (S, K): the numbers of the training shapes.
    labels
        (S,) int64: their classes.
    names
        Their names, or empty.
    limit
        The distance that deviation 1 stands for.
    """

    mean: Tensor
    projection: Tensor
    references: Tensor
    labels: Tensor
    names: tuple[str, ...]
    limit: float

    @classmethod
    def of(cls, training: Tensor, labels: Tensor, names: Sequence[str], validation: Tensor) -> ShapeDomain:
        """Measure embeddings of the training shapes (S, D) with their classes (S,), and of the validation shapes."""
        training = training.double()
        mean = training.mean(dim=0)
        centred = training - mean
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[:LARGEST_SIZE].T
        numbers = centred @ axes
        means = torch.stack([numbers[labels == label].mean(dim=0) for label in labels.unique()])
        within = numbers - means[torch.searchsorted(labels.unique(), labels)]
        spreads, turn = torch.linalg.eigh(within.T @ within / len(within))
        spreads = spreads.clamp(min=SMALLEST_SPREAD**2 * float(spreads.max()))
        projection = axes @ turn / spreads.sqrt()
        references = (centred @ projection).half()
        found = cls(mean.float(), projection.float(), references, labels, tuple(names), 1.0)
        return dataclasses.replace(found, limit=float(found.distances(validation).quantile(QUANTILE)))

    def nearest(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distances to the nearest training shapes, (B, 3) float64 in rising order, and their places."""
        numbers = (embeddings.double().cpu() - self.mean) @ self.projection.double()
        between = torch.cdist(numbers, self.references.double(), compute_mode="donot_use_mm_for_euclid_dist")
        return between.topk(min(NUM_NEAREST, len(self.references)), largest=False)

    def distances(self, embeddings: Tensor) -> Tensor:
        """Return the mean distance (B,) float64 of embeddings (B, D) to their nearest training shapes."""
        return self.nearest(embeddings)[0].mean(dim=1)

    def stored(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)}, "names": [*self.names]}

    @classmethod
    def restored(cls, stored: Any) -> ShapeDomain:
        """Make one of what `stored` returned.

        Raises
        ------
        ValueError
            If it is something else.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(stored, Mapping) or set(stored) != names:
            raise ValueError(f"{', '.join(sorted(names))} expected")
        tensors = [stored[name] for name in ("mean", "projection", "references", "labels")]
        if not all(isinstance(value, Tensor) for value in tensors):
            raise ValueError("tensors expected")
        mean, projection, references, labels = tensors
        shapes = [tuple(value.shape) for value in tensors]
        size, width = projection.shape if projection.dim() == 2 else (0, 0)
        count = len(labels) if labels.dim() == 1 else 0
        if not count or shapes[:3] != [(size,), (size, width), (count, width)]:
            raise ValueError(f"shapes {shapes} do not fit each other")
        if len(stored["names"]) not in (0, count):
            raise ValueError(f"{len(stored['names'])} names of {count} shapes")
        known, limit = tuple(map(str, stored["names"])), float(stored["limit"])
        if not 0 <= limit < float("inf") or not all(bool(value.isfinite().all()) for value in tensors):
            raise ValueError("finite numbers expected")
        return cls(mean, projection, references, labels, known, limit)
