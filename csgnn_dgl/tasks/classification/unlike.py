"""Clouds that are no objects, to try what a classifier makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator

COPIES = 10
"""Clouds of each kind."""


def unlike_clouds(num_points: int, seed: int = 0) -> NDArray[np.float64]:
    """Make clouds of ten kinds of things that nobody would call an object, `COPIES` of each.

    Noise (normal, or even in a ball or a cube), a sphere, a torus, a plane, a rod, a helix, six clusters, and a random
    walk.

    Returns
    -------
    numpy.ndarray
        (10 · COPIES, num_points, 3), kind after kind.
    """
    rng = np.random.default_rng(seed)
    return np.stack([kind(rng, num_points) for kind in KINDS for _ in range(COPIES)])


def _normal(rng: Rng, count: int) -> NDArray[np.float64]:
    return rng.normal(size=(count, 3))


def _sphere(rng: Rng, count: int) -> NDArray[np.float64]:
    points = _normal(rng, count)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _ball(rng: Rng, count: int) -> NDArray[np.float64]:
    return _sphere(rng, count) * rng.uniform(size=(count, 1)) ** (1 / 3)


def _cube(rng: Rng, count: int) -> NDArray[np.float64]:
    return rng.uniform(-1, 1, (count, 3))


def _plane(rng: Rng, count: int) -> NDArray[np.float64]:
    return _cube(rng, count) * (1, 1, 0.01)


def _rod(rng: Rng, count: int) -> NDArray[np.float64]:
    return _normal(rng, count) * (1, 0.01, 0.01)


def _torus(rng: Rng, count: int) -> NDArray[np.float64]:
    around, within = rng.uniform(0, 2 * np.pi, (2, count))
    radius = 1 + 0.3 * np.cos(within)
    return np.stack([radius * np.cos(around), radius * np.sin(around), 0.3 * np.sin(within)], axis=1)


def _helix(rng: Rng, count: int) -> NDArray[np.float64]:
    angle = rng.uniform(0, 6 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle), angle / 6], axis=1)


def _clusters(rng: Rng, count: int) -> NDArray[np.float64]:
    return _normal(rng, 6)[rng.integers(0, 6, count)] + 0.05 * _normal(rng, count)


def _walk(rng: Rng, count: int) -> NDArray[np.float64]:
    return np.cumsum(_normal(rng, count), axis=0)


KINDS = (_normal, _ball, _cube, _sphere, _torus, _plane, _rod, _helix, _clusters, _walk)
"""What makes one cloud of each kind, from a source of randomness and the number of points."""
