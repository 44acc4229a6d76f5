"""Points on the surface of meshes."""

from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError


def sample_mesh(
    path: Path,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    num_points: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw points uniformly by area from a mesh of finite vertices: (num_points, 3)."""
    return sample_faces(path, vertices, faces, num_points, rng)[0]


def sample_faces(
    path: Path,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    num_points: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw points as `sample_mesh` does, and say on which face each one lies: (num_points, 3) and (num_points,)."""
    scale = np.abs(vertices).max() or 1.0  # so that no area vanishes or overflows
    mesh = trimesh.Trimesh(vertices / scale, faces, process=False)
    if not mesh.area > 0.0:
        raise InputError(f"{path}: the mesh has no surface (its area is 0); repair or remove it.")
    points, chosen = trimesh.sample.sample_surface(mesh, num_points, seed=rng)
    return np.asarray(points, dtype=np.float64) * scale, np.asarray(chosen, dtype=np.int64)


def resampled(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return which of `count` points make a cloud of `wanted`: all as often as they go into it, and some once more."""
    extra = rng.choice(count, wanted % count, replace=False)
    return np.concatenate([np.tile(np.arange(count), wanted // count), np.sort(extra)])
