"""Shapes as people have them: files, folders of files, and arrays of points."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from csgnn_dgl.data import CloudTransform, read_cloud
from csgnn_dgl.data.clouds.axes import z_up
from csgnn_dgl.data.clouds.formats import READERS
from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.data.clouds.sampling import resampled
from csgnn_dgl.data.text import check_name
from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note, notes_together

Shape = str | os.PathLike[str] | ArrayLike | Tensor
"""The path of a file or folder, or points (N, 3)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Cloud:
    """The points of one shape.

    Attributes
    ----------
    name
        What it is called: its file, within the folder that was given.
    source
        Path of the file, or empty.
    points
        (N, 3) float64, as the file has them, z up.
    """

    name: str
    source: str
    points: NDArray[np.float64]


def is_one_shape(given: Any) -> bool:
    """Whether this is one file, or the points of one cloud."""
    if isinstance(given, (str, os.PathLike)):
        return not Path(given).is_dir()
    return isinstance(given, (np.ndarray, Tensor)) and given.ndim == 2


def files_of(paths: Iterable[str | os.PathLike[str]]) -> list[tuple[str, Path]]:
    """Return the names and paths of files: those that are given, and of folders all that can be read, at any depth.

    Hidden files and folders are passed over; a note says of how many files of which other formats a folder has some.

    Raises
    ------
    InputError
        If a folder has no file that could be read, or the name of a file is not text.
    """
    found: list[tuple[str, Path]] = []
    for given in paths:
        path = Path(given)
        check_name(path)
        found += _within(path) if path.is_dir() else [(str(path), path)]
    return found


def _within(folder: Path) -> list[tuple[str, Path]]:
    inside = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    known = [path for path in inside if path.suffix.lower() in READERS]
    others = Counter(path.suffix.lower() or "without suffix" for path in inside if path.suffix.lower() not in READERS)
    told = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
    if not known:
        formats = ", ".join(suffix[1:] for suffix in READERS)
        passed = f" (passed over: {told})" if told else ""
        raise InputError(f"{folder}: there is no mesh or point file in the folder{passed}; give files of {formats}")
    if told:
        note(folder, f"passed over {told}")
    for path in known:
        check_name(path)
    return [(path.relative_to(folder).as_posix(), path) for path in known]


def read_clouds(
    files: Iterable[tuple[str, Path]], num_points: int, up_axis: str, failures: dict[str, str] | None = None
) -> Iterator[Cloud]:
    """Read files one after the other.

    Parameters
    ----------
    files
        What `files_of` returned.
    num_points, up_axis
        See :func:`csgnn_dgl.data.read_cloud`.
    failures
        Where files that cannot be used are put, with what is wrong, by their names; without it they are an error.

    Raises
    ------
    InputError
        If a file cannot be used.
    """
    with notes_together("shapes"):
        for name, path in files:
            try:
                points = read_cloud(path, num_points, up_axis=up_axis)
            except InputError as error:
                if failures is None:
                    raise
                failures[name] = str(error)
            else:
                yield Cloud(name, str(path), points)


def clouds_of(given: Any, num_points: int, up_axis: str = "z") -> Iterator[Cloud]:
    """Make clouds of what is given.

    Parameters
    ----------
    given
        A path, points (N, 3) or (B, N, 3), or several paths or several arrays of points.
    num_points
        Points of each: of more a random subset is taken, of fewer some come several times.
    up_axis
        The axis that points up.

    Raises
    ------
    InputError
        If it is something else, or cannot be used.
    """
    items = [given] if isinstance(given, (str, os.PathLike)) or is_one_shape(given) else given
    if not isinstance(items, Iterable) or isinstance(items, (bytes, Mapping)):
        raise InputError(f"shapes is a {type(given).__name__}; give paths of files or folders, or points (N, 3)")
    items = list(items)
    if not items:
        raise InputError("shapes is empty; give at least one file, or the points of one shape")
    paths = [item for item in items if isinstance(item, (str, os.PathLike))]
    if len(paths) == len(items):
        yield from read_clouds(files_of(paths), num_points, up_axis)
        return
    if paths:
        raise InputError(f"shapes has paths ({str(paths[0])!r}) among points; give the one or the other")
    for place, item in enumerate(items):
        name = "cloud" if len(items) == 1 else f"cloud {place}"
        yield Cloud(name, "", _checked(item, name, num_points, up_axis))


def _checked(points: Any, name: str, num_points: int, up_axis: str) -> NDArray[np.float64]:
    values = points.detach().cpu().numpy() if isinstance(points, Tensor) else np.asarray(points)
    if values.ndim != 2 or values.shape[-1] != 3:
        raise InputError(f"{name} has shape {values.shape}; give points as (N, 3)")
    checked = PointClouds(values[None], np.zeros(1, dtype=np.int64), ("",), source=name).points[0].astype(np.float64)
    rng, count = np.random.default_rng(0), len(checked)
    if count > num_points:
        checked = checked[np.sort(rng.choice(count, num_points, replace=False))]
    elif count < num_points:
        note(name, f"clouds of fewer points are resampled to {num_points}: some points come several times")
        checked = checked[resampled(count, num_points, rng)]
    return z_up(checked, up_axis, name)


def transformed(clouds: Iterable[Cloud]) -> Tensor:
    """Return clouds as a classifier gets them, centred and scaled: (B, N, 3) float32."""
    return CloudTransform()(torch.from_numpy(np.stack([cloud.points for cloud in clouds])))
