"""The built-in data set: objects made on the spot, for everybody who has no data at hand."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.clouds.objects import CLASSES
from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.data.clouds.sampling import sample_mesh
from csgnn_dgl.data.progress import progress_bar
from csgnn_dgl.data.splits import CLOUD_SPLITS, check_split
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write, cache_folder

BUILTIN_CLASSES = tuple(CLASSES)
SHAPES_PER_CLASS = {"train": 80, "test": 40}
VERSION = 2
"""Counts up whenever other shapes come out, so that no old cache is read."""

LARGEST_STRETCH = 0.25
"""Each axis of every object is stretched by exp(u), u uniform up to this size."""


def builtin_shapes(
    split: str, num_points: int = 1024, seed: int = 0, cache: bool = True, progress: bool = False
) -> PointClouds:
    """Return one split of the built-in data set, made at the first call and kept in a cache.

    Every shape is a function of (seed, class, split, number): proportions and parts are drawn at random, the
    object is put together and its surface sampled uniformly by area.

    Parameters
    ----------
    split
        ``"train"`` (80 shapes per class) or ``"test"`` (40 per class).
    num_points
        Points per cloud, at least 2.
    seed
        Another seed makes another data set.
    cache
        Read and write the cache folder (:func:`csgnn_dgl.files.cache_folder`); where it cannot be written to, or holds
        a broken file, the shapes are made anew.
    progress
        Show a progress bar on stderr while shapes are made.

    Returns
    -------
    PointClouds
        Sorted by class, named ``class/number``; coordinates (shapes, num_points, 3) float32, z up.

    Raises
    ------
    InputError
        If `split` is unknown, `num_points` below 2 or `seed` negative.
    """
    check_split(split, CLOUD_SPLITS, "the built-in data set")
    if num_points < 2:
        raise InputError(f"num_points is {num_points}; ask the built-in data set for at least 2 points per shape.")
    if seed < 0:
        raise InputError(f"the seed of the built-in data set is {seed}; give a whole number from 0.")
    count = SHAPES_PER_CLASS[split]
    path = cache_folder() / f"builtin-v{VERSION}-{split}-{num_points}-{seed}.npz" if cache else None
    points = _read_cache(path, (len(CLASSES) * count, num_points, 3)) if path else None
    if points is None:
        keys = [(name, number) for name in CLASSES for number in range(count)]
        shown = progress_bar(keys, desc=f"making {split} shapes", unit="shape", disable=not progress)
        points = np.stack([make_shape(name, split, number, num_points, seed) for name, number in shown])
        if path:
            _write_cache(path, points)
    labels = np.repeat(np.arange(len(CLASSES)), count)
    names = tuple(f"{name}/{number:03d}" for name in CLASSES for number in range(count))
    return PointClouds(points, labels, BUILTIN_CLASSES, names, source=f"built-in shapes ({split})")


def make_shape(name: str, split: str, number: int, num_points: int = 1024, seed: int = 0) -> NDArray[np.float32]:
    """Make one cloud of the class `name`: (num_points, 3), z up."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), CLOUD_SPLITS.index(split), number])
    solid = CLASSES[name](rng).stretched(*np.exp(rng.uniform(-LARGEST_STRETCH, LARGEST_STRETCH, 3)))
    return sample_mesh(Path(name), solid.vertices, solid.faces, num_points, rng).astype(np.float32)


def _read_cache(path: Path, shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
    """Return the cached points, or None where there are none or the file is not what was written."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            points = file["points"]
    except Exception:  # missing, truncated, overwritten: each breaks the archive in its own way
        return None
    fine = points.shape == shape and points.dtype == np.float32 and bool(np.isfinite(points).all())
    return points if fine else None


def _write_cache(path: Path, points: NDArray[np.float32]) -> None:
    """Keep the points; without a folder to write to, do without."""
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, points=points)
    except OSError:
        pass
