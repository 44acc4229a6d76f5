"""What a scanner sees of a shape: one side of it, with noise, some background, and something in front."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

DENSE = 4
"""Points of the whole surface that are looked at, for each point of the scan."""

FLIP = 100.0
"""Radius of the sphere that points are flipped at to see which are hidden, in sizes of the scene."""


def visible(points: NDArray[np.float64], camera: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of the points (N, 3) a camera (3,) outside of them sees, ascending.

    Points are flipped at a large sphere about the camera; those on the convex hull of the result and the camera are the
    visible ones (Katz, Tal and Basri, *Direct visibility of point sets*, 2007).
    """
    seen = points - camera
    norms = np.linalg.norm(seen, axis=1, keepdims=True)
    flipped = seen + 2 * (FLIP * norms.max() - norms) * seen / norms
    hull = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))]))
    return np.sort(hull.vertices[hull.vertices < len(points)]).astype(np.int64)


def scan(points: NDArray[np.float64], num_points: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what a scanner sees of a shape given by many points (M, 3), z up: (num_points, 3), z up.

    One view from a random side, 5 to 50 degrees above the horizon; a ball of a fifth to a third of the size in which
    something stands in front; up to a quarter of the points on the floor, and in half of the scans on a wall behind;
    normal noise of 0.5 to 1.5 % of the size. Where fewer points are seen than asked for, some come several times.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    centre, size = (low + high) / 2, float(np.linalg.norm(high - low))
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(5, 50))
    out = np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])
    side = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])

    seen = points[visible(points, centre + 2 * size * out)]
    bite = seen[rng.integers(len(seen))]
    free = np.linalg.norm(seen - bite, axis=1) > size * rng.uniform(0.2, 0.33) / 2
    seen = seen[free] if free.sum() >= num_points // 8 else seen

    around = int(num_points * rng.uniform(0.0, 0.25))
    spread = rng.uniform(-0.6, 0.6, (around, 2)) * size
    floor = np.column_stack([centre[:2] + spread, np.full(around, low[2])])
    if rng.random() < 0.5:
        wall = rng.random(around) < 0.5
        back = np.array([-np.cos(azimuth), -np.sin(azimuth), 0.0]) * size * 0.6
        upright = centre + back + spread[:, :1] * side + np.array([0.0, 0.0, 1.0]) * spread[:, 1:]
        floor = np.where(wall[:, None], upright, floor)
    wanted = num_points - around
    chosen = rng.permutation(len(seen))[:wanted]
    chosen = np.concatenate([chosen, rng.integers(len(seen), size=wanted - len(chosen))])
    cloud = np.concatenate([seen[chosen], floor])[rng.permutation(num_points)]
    return np.asarray(cloud + rng.normal(size=cloud.shape) * size * rng.uniform(0.005, 0.015))
