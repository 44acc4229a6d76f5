"""How far atomic environments lie from those that a model was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models.dos.agni import AGNIFingerprint

NUM_WIDTHS = 18
"""Gaussians of the fingerprint that tells environments apart."""

SMALLEST_DEVIATION = 1e-4
"""Least standard deviation of a feature: of ideal crystals alone it would be that of roundings."""

FAR = 1.5
"""From this multiple of training's largest deviation on, what a model says has no meaning."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingDomain:
    """The mean environment of a training, and how far others were from it.

    Environments of any model are described by the 72 features of :class:`~csgnn_dgl.models.dos.agni.AGNIFingerprint`,
    which no rotation and no order of the neighbours changes and which are smooth in the positions. The deviation of an
    environment is its largest feature by absolute value, after the mean was taken off and the standard deviation
    divided by. It is a simple measure: an environment of a large deviation is unlike all of the training, but one of a
    small deviation may be unlike them too, in what no single feature shows.

    Attributes
    ----------
    cutoff
        Radius of the environments, in Å.
    mean, scale
        (72,) float64: mean and standard deviation of each feature over the environments of the training snapshots.
    largest
        The largest deviation in training, 1 at least.
    """

    cutoff: float
    mean: Tensor
    scale: Tensor
    largest: float

    @classmethod
    def of(cls, parts: Iterable[Environments], cutoff: float) -> TrainingDomain:
        """Measure the environments of the training snapshots, one snapshot after the other."""
        fingerprint = AGNIFingerprint(NUM_WIDTHS, cutoff)
        origin = total = squares = low = high = torch.zeros(4 * NUM_WIDTHS, dtype=torch.float64)
        count = 0
        for part in parts:
            features = fingerprint(part).cpu()
            if count == 0:
                origin = low = high = features.mean(dim=0)
            centred = features - origin  # squares of small numbers keep their digits
            total, squares = total + centred.sum(dim=0), squares + centred.square().sum(dim=0)
            low, high = torch.minimum(low, features.amin(dim=0)), torch.maximum(high, features.amax(dim=0))
            count += len(features)
        shift = total / count
        scale = (squares / count - shift.square()).clamp(min=0).sqrt().clamp(min=SMALLEST_DEVIATION)
        mean = origin + shift
        return cls(cutoff, mean, scale, max(float((torch.maximum(high - mean, mean - low) / scale).max()), 1.0))

    def deviations(self, environments: Environments) -> Tensor:
        """Return the deviation (N,) float64 of each environment, on the CPU."""
        features = AGNIFingerprint(NUM_WIDTHS, self.cutoff)(environments).cpu()
        return ((features - self.mean) / self.scale).abs().amax(dim=1)

    def stored(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> TrainingDomain:
        """Make one of what `stored` returned.

        Raises
        ------
        ValueError
            If it is something else.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(stored, Mapping) or sorted(stored) != sorted(names):
            raise ValueError(f"{', '.join(names)} expected")
        for name in ("mean", "scale"):
            if not isinstance(stored[name], Tensor) or stored[name].shape != (4 * NUM_WIDTHS,):
                raise ValueError(f"{name} must be {4 * NUM_WIDTHS} numbers")
        return cls(float(stored["cutoff"]), stored["mean"].double(), stored["scale"].double(), float(stored["largest"]))
