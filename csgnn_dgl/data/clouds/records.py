"""Labelled point clouds in memory: what every reader returns and every data set serves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csgnn_dgl.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

SMALLEST_EXTENT = 1e-15
LARGEST_COORDINATE = 1e15
"""Between these two sizes squared norms neither vanish nor overflow in float32."""

FEATURES = {"normals": 3, "colours": 3, "intensities": 1}
"""What points may carry beside their positions, and how many numbers each of it has."""


@dataclass(frozen=True, eq=False, repr=False)
class PointClouds:
    """A set of labelled point clouds of one size, checked when it is made.

    Parameters
    ----------
    points
        Coordinates, (shapes, points, 3), as the source has them but z up. Stored contiguous; float64 if they are
        given so, else float32.
    labels
        Class of each shape, (shapes,), whole numbers of any type in [0, len(class_names)). Stored as int64.
    class_names
        Name of each class.
    names
        Name of each shape, or empty where the source has none.
    source
        Where the clouds come from; every complaint starts with it.
    normalised
        Whether the source has them centred and scaled to the unit ball, as ModelNet40 has over all points of each
        shape: they are left so, however many of the points are used.
    features
        What the points carry, (shapes, points, numbers) by its name in `FEATURES`: ``"normals"`` of the surface, of any
        length and sign, z up as the points, ``"colours"`` (red, green, blue) and ``"intensities"``. Stored as float32.

    Raises
    ------
    InputError
        If there are no shapes or no points, if a shape or dtype is wrong, a coordinate is NaN, infinite or
        beyond 1e15 in size, a cloud has no extent (all its points coincide), a label has no class name, or a feature is
        unknown, has another shape or holds a number that is not finite.
    """

    points: NDArray[np.float32] | NDArray[np.float64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    names: tuple[str, ...] = ()
    source: str = "point clouds"
    normalised: bool = False
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.class_names), self.source))
        points = np.asarray(self.points)
        if points.ndim != 3 or points.shape[-1] != 3:
            raise InputError(f"{self.source}: the points have shape {points.shape}; give them as (shapes, points, 3).")
        if len(points) != len(self.labels):
            raise InputError(
                f"{self.source}: {len(points)} clouds but {len(self.labels)} labels; label each cloud once."
            )
        if self.names and len(self.names) != len(points):
            raise InputError(
                f"{self.source}: {len(points)} clouds but {len(self.names)} names; name each cloud, or none."
            )
        if len(points) == 0:
            raise InputError(f"{self.source}: there are no shapes; give at least one.")
        if points.dtype.kind not in "fiu":
            raise InputError(f"{self.source}: the points have dtype {points.dtype}; give real numbers (float32).")
        with np.errstate(over="ignore"):
            points = np.ascontiguousarray(points, dtype=np.float64 if points.dtype == np.float64 else np.float32)
        object.__setattr__(self, "points", points)
        self._check_extents()
        object.__setattr__(self, "features", {name: self._checked(name) for name in self.features})

    def _checked(self, name: str) -> NDArray[np.float32]:
        if name not in FEATURES:
            raise InputError(f"{self.source}: {name!r} is no feature of points; give one of {', '.join(FEATURES)}.")
        values = np.asarray(self.features[name])
        wanted = (*self.points.shape[:2], FEATURES[name])
        if values.shape != wanted or values.dtype.kind not in "fiu":
            raise InputError(
                f"{self.source}: the {name} have shape {values.shape} and dtype {values.dtype}; give numbers {wanted}."
            )
        finite = np.asarray(np.isfinite(values).all(axis=(1, 2)))
        if not finite.all():
            raise InputError(f"{self._describe(finite)} has {name} that are NaN or infinite; remove or repair it.")
        return np.ascontiguousarray(values, dtype=np.float32)

    def _check_extents(self) -> None:
        if self.points.shape[1] == 0:
            raise InputError(f"{self.source}: the clouds are empty; give at least two points per shape.")
        flat = self.points.reshape(len(self.points), -1)
        largest = np.maximum(flat.max(axis=1), -flat.min(axis=1))
        finite = np.isfinite(largest)
        if not finite.all():
            raise InputError(f"{self._describe(finite)} has a coordinate that is NaN or infinite; remove or repair it.")
        small_enough = largest <= LARGEST_COORDINATE
        if not small_enough.all():
            raise InputError(
                f"{self._describe(small_enough)} has a coordinate of {largest.max():.3g}, beyond "
                f"{LARGEST_COORDINATE:g}; rescale it."
            )
        # the first points show the extent of nearly every cloud; only the others need all of theirs
        extended = _extents(self.points[:, :16]) >= SMALLEST_EXTENT
        extended[~extended] = _extents(self.points[~extended]) >= SMALLEST_EXTENT
        if not extended.all():
            extent = float(_extents(self.points[~extended])[0])
            raise InputError(f"{self._describe(extended)} {no_extent(extent)}; remove it.")

    def _describe(self, fine: NDArray[np.bool_]) -> str:
        """Name the first shape that is not fine."""
        index = int(np.argmin(fine))
        name = f" ({self.names[index]})" if self.names else ""
        return f"{self.source}: cloud {index}{name}"

    def __len__(self) -> int:
        """Count the shapes."""
        return len(self.points)

    def __repr__(self) -> str:
        """Show the sizes and the source, not the coordinates."""
        shapes, points, _ = self.points.shape
        classes = len(self.class_names)
        return f"PointClouds({shapes} shapes of {points} points, {classes} classes, {self.source!r})"

    @property
    def num_points(self) -> int:
        """Points per cloud."""
        return self.points.shape[1]

    @property
    def num_classes(self) -> int:
        """Number of classes, with or without shapes in this set."""
        return len(self.class_names)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return the shapes at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        names = tuple(self.names[i] for i in chosen) if self.names else ()
        shown = {name: values[chosen] for name, values in self.features.items()}
        points, labels = self.points[chosen], self.labels[chosen]
        return dataclasses.replace(self, points=points, labels=labels, names=names, features=shown)

    def named(self, names: Sequence[str], source: str) -> PointClouds:
        """Return the shapes of these names, in their order here.

        Parameters
        ----------
        names
            Names of shapes, each at most once.
        source
            Where the names come from, for complaints.

        Raises
        ------
        InputError
            If these shapes have no names, two have the same, or there is none of a name.
        """
        if not self.names:
            raise InputError(f"{self.source}: the shapes have no names; leave {source} out, or give files with names.")
        wanted = set(names)
        for known in (names, [name for name in self.names if name in wanted]):
            if len(set(known)) < len(known):
                twice = next(name for name in known if known.count(name) > 1)
                raise InputError(f"{source}: the shape {twice!r} is there twice; name each shape once.")
        if missing := wanted - set(self.names):
            raise InputError(
                f"{source}: {len(missing)} of {len(wanted)} shapes are not in {self.source}, such as "
                f"{min(missing)!r}; give names of its shapes."
            )
        return self.subset([index for index, name in enumerate(self.names) if name in wanted])


def no_extent(extent: float) -> str:
    """Say what is wrong with a shape that is too small."""
    if extent == 0:
        return "has no extent (all its points coincide)"
    return f"is only {extent:.3g} across, and less than {SMALLEST_EXTENT:g} cannot be told from nothing: rescale it"


def _extents(points: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.floating]:
    """Return the longest edge of the bounding box of each cloud."""
    return np.ptp(points, axis=1).max(axis=1)


def checked_labels(labels: ArrayLike, num_classes: int, source: str) -> NDArray[np.int64]:
    """Return labels, whole numbers (shapes,) or (shapes, 1) in [0, num_classes), as an int64 vector (shapes,).

    Raises
    ------
    InputError
        If shape, dtype or range is wrong; it begins with `source`.
    """
    found = np.asarray(labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise InputError(f"{source}: the labels have shape {found.shape}; give one whole number per shape.")
    if found.dtype.kind not in "iu":
        raise InputError(f"{source}: the labels have dtype {found.dtype}; give whole numbers (uint8 or int64).")
    bad = (found < 0) | (found >= num_classes)
    if bad.any():
        raise InputError(
            f"{source}: label {found[np.argmax(bad)]} of shape {np.argmax(bad)} is out of range; "
            f"with {num_classes} class names it has to lie in 0..{num_classes - 1}."
        )
    return np.ascontiguousarray(found, dtype=np.int64)
