"""Point clouds whose points are labelled too: with the part of the shape that each lies on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, eq=False, repr=False)
class PartClouds(PointClouds):
    """Labelled point clouds with a part for every point.

    Every part belongs to one class of shapes, so that a point of a shape can lie on the parts of its class alone.

    Parameters
    ----------
    points, labels, class_names, names, source, normalised, features
        As in :class:`PointClouds`.
    parts
        (shapes, points) whole numbers in [0, len(part_names)): the part that each point lies on.
    part_names
        Name of each part; parts of different classes may share one.
    part_classes
        (len(part_names),) the class that each part belongs to.

    Raises
    ------
    InputError
        As in :class:`PointClouds`, or if parts have another shape than the points, or are not those of the shape's
        class.
    """

    parts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    part_names: tuple[str, ...] = ()
    part_classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        super().__post_init__()
        parts, classes = np.asarray(self.parts), np.asarray(self.part_classes)
        object.__setattr__(self, "part_names", tuple(self.part_names))
        if parts.shape != self.points.shape[:2] or parts.dtype.kind not in "iu":
            raise InputError(
                f"{self.source}: the parts have shape {parts.shape} and dtype {parts.dtype}; give one whole number for "
                f"each of the points {self.points.shape[:2]}."
            )
        if len(classes) != len(self.part_names):
            raise InputError(
                f"{self.source}: {len(self.part_names)} names of parts but {len(classes)} classes that they belong to; "
                "give each part one."
            )
        inside = (parts >= 0) & (parts < len(classes))
        own = inside & (classes[np.where(inside, parts, 0)] == self.labels[:, None])
        if not own.all():
            shape, point = np.argwhere(~own)[0]
            raise InputError(
                f"{self._describe(own.all(axis=1))}: point {point} has part {parts[shape, point]}, which is none of a "
                f"{self.class_names[self.labels[shape]]}; give parts of its class."
            )
        object.__setattr__(self, "parts", np.ascontiguousarray(parts, dtype=np.int64))
        object.__setattr__(self, "part_classes", classes.astype(np.int64))

    @property
    def num_parts(self) -> int:
        """Number of parts of all classes."""
        return len(self.part_names)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return the shapes at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        names = tuple(self.names[i] for i in chosen) if self.names else ()
        shown = {name: getattr(self, name)[chosen] for name in ("points", "labels", "parts")}
        features = {name: values[chosen] for name, values in self.features.items()}
        return dataclasses.replace(self, names=names, features=features, **shown)
