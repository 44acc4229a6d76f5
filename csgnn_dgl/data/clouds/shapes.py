"""The built-in data set: objects made on the spot, for everybody who has no data at hand."""

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.clouds.objects import CLASSES, PARTS
from csgnn_dgl.data.clouds.parts import PartClouds
from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.data.clouds.sampling import sample_faces
from csgnn_dgl.data.clouds.scanned import DENSE, scan
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
    split: str,
    num_points: int = 1024,
    seed: int = 0,
    cache: bool = True,
    progress: bool = False,
    normals: bool = False,
    scanned: bool = False,
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
    normals
        Whether the points carry the normals of the faces that they lie on.
    scanned
        What a scanner sees of each shape instead: one side, noise, background, occlusion; see
        :func:`csgnn_dgl.data.clouds.scanned.scan`. Scans have no normals.

    Returns
    -------
    PointClouds
        Sorted by class, named ``class/number``; coordinates (shapes, num_points, 3) float32, z up.

    Raises
    ------
    InputError
        If `split` is unknown, `num_points` below 2 or `seed` negative, or normals of scans are asked for.
    """
    if scanned and normals:
        raise InputError("the scanned built-in shapes have no normals; ask for no features.")
    made = _made("scanned" if scanned else "normals" if normals else "points", split, num_points, seed, cache, progress)
    features = {"normals": made["normals"]} if normals else {}
    count = SHAPES_PER_CLASS[split]
    labels = np.repeat(np.arange(len(CLASSES)), count)
    names = tuple(f"{name}/{number:03d}" for name in CLASSES for number in range(count))
    source = f"{'scanned ' if scanned else ''}built-in shapes ({split})"
    return PointClouds(made["points"], labels, BUILTIN_CLASSES, names, source=source, features=features)


def builtin_parts(
    split: str, num_points: int = 1024, seed: int = 0, cache: bool = True, progress: bool = False
) -> PartClouds:
    """Return the same shapes, each point with the part of the object that it lies on.

    The parts are numbered class by class: those of an airplane come first, those of a vase last, each class with parts
    of its own.

    Parameters
    ----------
    split, num_points, seed, cache, progress
        As in :func:`builtin_shapes`, whose errors are raised too.

    Returns
    -------
    PartClouds
        The points of :func:`builtin_shapes`; parts (shapes, num_points) int64.
    """
    made = _made("parts", split, num_points, seed, cache, progress)
    labels = np.repeat(np.arange(len(CLASSES)), SHAPES_PER_CLASS[split])
    names = tuple(f"{name}/{number:03d}" for name in CLASSES for number in range(SHAPES_PER_CLASS[split]))
    return PartClouds(
        made["points"],
        labels,
        BUILTIN_CLASSES,
        names,
        source=f"built-in shapes ({split})",
        parts=made["parts"].astype(np.int64),
        part_names=tuple(name for own in PARTS.values() for name in own),
        part_classes=np.repeat(np.arange(len(PARTS)), [len(own) for own in PARTS.values()]),
    )


class Shape(NamedTuple):
    """The surface of an object at sampled points.

    Attributes
    ----------
    points
        (num_points, 3) float32, z up.
    parts
        (num_points,) uint8, the part each point lies on, numbered as in :func:`builtin_parts`.
    normals
        (num_points, 3) float32, unit normals of the faces that the points lie on.
    """

    points: NDArray[np.float32]
    parts: NDArray[np.uint8]
    normals: NDArray[np.float32]


def make_shape(name: str, split: str, number: int, num_points: int = 1024, seed: int = 0) -> NDArray[np.float32]:
    """Make one cloud of the class `name`: (num_points, 3), z up."""
    return make_surface(name, split, number, num_points, seed).points


def make_surface(name: str, split: str, number: int, num_points: int = 1024, seed: int = 0) -> Shape:
    """Make one cloud of the class `name` with all that is known of its points."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), CLOUD_SPLITS.index(split), number])
    solid = CLASSES[name](rng).stretched(*np.exp(rng.uniform(-LARGEST_STRETCH, LARGEST_STRETCH, 3)))
    points, face = sample_faces(Path(name), solid.vertices, solid.faces, num_points, rng)
    first = sum(len(own) for own in list(PARTS.values())[: list(PARTS).index(name)])
    place = {part: first + index for index, part in enumerate(PARTS[name])}
    parts = [place[part] for part in np.asarray(solid.parts)[face].tolist()]
    a, b, c = solid.vertices[solid.faces[face]].swapaxes(0, 1)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Shape(points.astype(np.float32), np.array(parts, dtype=np.uint8), normals.astype(np.float32))


def make_scan(name: str, split: str, number: int, num_points: int, seed: int) -> Shape:
    """Make the scan of the same object; its parts and normals are unknown, and empty."""
    surface = make_surface(name, split, number, DENSE * num_points, seed).points.astype(np.float64)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), CLOUD_SPLITS.index(split), number, 1])
    points = scan(surface, num_points, rng).astype(np.float32)
    return Shape(points, np.zeros(0, dtype=np.uint8), np.zeros((0, 3), dtype=np.float32))


CACHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "points": ("builtin", ("points",)),
    "parts": ("builtin-parts", ("points", "parts")),
    "normals": ("builtin-normals", ("points", "normals")),
    "scanned": ("builtin-scanned", ("points",)),
}
"""How the files of the cache begin, and what of a :class:`Shape` they hold."""


def _made(kind: str, split: str, num_points: int, seed: int, cache: bool, progress: bool) -> dict[str, NDArray[Any]]:
    """Return fields of all shapes of a split, from the cache or made anew."""
    check_split(split, CLOUD_SPLITS, "the built-in data set")
    if num_points < 2:
        raise InputError(f"num_points is {num_points}; ask the built-in data set for at least 2 points per shape.")
    if seed < 0:
        raise InputError(f"the seed of the built-in data set is {seed}; give a whole number from 0.")
    begin, fields = CACHES[kind]
    keys = [(name, number) for name in CLASSES for number in range(SHAPES_PER_CLASS[split])]
    path = cache_folder() / f"{begin}-v{VERSION}-{split}-{num_points}-{seed}.npz" if cache else None
    found = _read_cache(path, fields, (len(keys), num_points)) if path else None
    if found is None:
        shown = progress_bar(keys, desc=f"making {split} shapes", unit="shape", disable=not progress)
        make = make_scan if kind == "scanned" else make_surface
        shapes = [make(name, split, number, num_points, seed) for name, number in shown]
        found = {field: np.stack([getattr(shape, field) for shape in shapes]) for field in fields}
        if path:
            _write_cache(path, found)
    return found


def _read_cache(path: Path, fields: tuple[str, ...], shape: tuple[int, int]) -> dict[str, NDArray[Any]] | None:
    """Return the cached fields, or None where there are none or the file is not what was written."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            found = {field: file[field] for field in fields}
    except Exception:  # missing, truncated, overwritten: each breaks the archive in its own way
        return None
    for field, values in found.items():
        wanted = (shape, np.uint8) if field == "parts" else ((*shape, 3), np.float32)
        if (values.shape, values.dtype) != wanted or not np.isfinite(values).all():
            return None
    return found


def _write_cache(path: Path, found: dict[str, NDArray[Any]]) -> None:
    """Keep what was made; without a folder to write to, do without."""
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **found)  # type: ignore[arg-type]
    except OSError:
        pass
