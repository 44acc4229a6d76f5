"""Time per cloud of the mappings on one core, beside a loop over the points."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.timing import Progress, Turn, Worker, interleave, summary
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping import MAPPINGS, PointMapping
from csgnn_dgl.mapping.tables import faces_around_vertices

LARGEST_DIFFERENCE = 1e-4


class PointLoop:
    """A mapping as one would write it at first: point by point, in NumPy.

    The triangle of a point is the one around its nearest vertex in which it lies deepest. Ties are not shared.

    Parameters
    ----------
    mapping
        Whose cells and kernel widths to use.
    """

    def __init__(self, mapping: PointMapping) -> None:
        sphere = icosphere(mapping.level)
        self.shape = (mapping.num_spheres, mapping.num_vertices, mapping.channels)
        self.vertices, self.faces = sphere.vertices, sphere.faces
        self.fans = [fan[fan >= 0] for fan in faces_around_vertices(sphere)]
        a, b, c = self.vertices[self.faces].swapaxes(0, 1)
        self.normals = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
        self.spheres = [spheres[spheres >= 0] for spheres in mapping.cell_spheres.numpy().T]
        self.gamma = mapping.cell_gamma.numpy()

    def __call__(self, cloud: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map one cloud (N, 3) within the unit ball to features (R, V, C)."""
        num_spheres, num_vertices, channels = self.shape
        features = np.zeros((num_spheres * channels, num_vertices))
        for point in cloud:
            norm = math.sqrt(point @ point)
            fan = self.fans[(self.vertices @ point).argmax()]
            corners = self.faces[fan[(self.normals[fan] @ point).min(axis=1).argmax()]]
            cell = min(int(norm * len(self.gamma)), len(self.gamma) - 1)
            spheres = self.spheres[cell][:, None]
            offsets = point - (spheres[..., None] + 1) / len(features) * self.vertices[corners]
            features[spheres, corners] += np.exp(-self.gamma[cell] * (offsets * offsets).sum(axis=2))
        return features.reshape(num_spheres, channels, num_vertices).swapaxes(1, 2)


def make(
    kind: str, level: int, num_spheres: int, channels: int, num_points: int, batch: int
) -> tuple[dict[str, Any], dict[str, Callable[[], object]]]:
    """Build a mapping and its loop for a worker, and compare them on one cloud."""
    mapping = MAPPINGS[kind](level, num_spheres, channels)
    torch.manual_seed(0)
    clouds = torch.randn(batch, num_points, 3)
    clouds /= clouds.norm(dim=-1).amax(dim=-1)[:, None, None]
    loop, first = PointLoop(mapping), clouds[0].double().numpy()
    expected = torch.from_numpy(loop(first))
    difference = float((mapping(clouds[:1])[:, :, 0] - expected).norm() / expected.norm())
    if not difference <= LARGEST_DIFFERENCE:
        raise RuntimeError(f"mapping {kind} and its loop differ by {difference:.2g} of the norm; nothing was timed")

    def batched() -> None:
        mapping(clouds)

    def looped() -> None:
        loop(first)

    return {"difference": difference}, {"batched": batched, "looped": looped}


def measure_mapping(
    level: int, num_spheres: int, channels: int, num_points: int, batch: int, repeats: int, progress: Progress
) -> dict[str, Any]:
    """Time both mappings on one thread.

    Parameters
    ----------
    level, num_spheres, channels
        The grid.
    num_points, batch
        Points per cloud, clouds per call; the loop maps one cloud.
    repeats
        Rounds.
    progress
        How the rounds are shown.

    Returns
    -------
    dict
        Seconds per cloud of ``prism``, ``shell`` and their loops, and the differences between them.
    """
    options = {"level": level, "num_spheres": num_spheres, "channels": channels}
    options |= {"num_points": num_points, "batch": batch}
    with Worker(threads=1) as worker:
        differences, turns = {}, []
        for kind in sorted(MAPPINGS):
            differences[kind] = worker.make("mapping:make", kind, kind=kind, **options)["difference"]
            turns += [Turn(kind, worker, kind, "batched"), Turn(f"{kind}, point by point", worker, kind, "looped", 0.0)]
        seconds = interleave(turns, repeats, "mapping", progress)
    per_cloud = {
        key: summary([value / (batch if key in MAPPINGS else 1) for value in values]) for key, values in seconds.items()
    }
    return {"options": options, "differences": differences, "seconds_per_cloud": per_cloud}
