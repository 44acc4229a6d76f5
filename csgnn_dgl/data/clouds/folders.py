"""A user's own shapes: folders ``class/{train,test}/*`` of meshes and point files."""

import os
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.clouds.axes import z_up
from csgnn_dgl.data.clouds.formats import READERS
from csgnn_dgl.data.clouds.records import LARGEST_COORDINATE, SMALLEST_EXTENT, PointClouds, no_extent
from csgnn_dgl.data.clouds.sampling import resampled, sample_mesh
from csgnn_dgl.data.progress import progress_bar
from csgnn_dgl.data.splits import CLOUD_SPLITS, check_split
from csgnn_dgl.data.text import check_name
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.notes import note, notes_together

MOST = 10
"""Folders that a note names."""


def read_cloud(
    path: str | os.PathLike[str], num_points: int = 1024, seed: int = 0, up_axis: str = "z"
) -> NDArray[np.float64]:
    """Read one mesh or point file as a cloud in the unit and place that the file has.

    A mesh (OFF, OBJ, STL, or PLY with faces) is sampled uniformly by area. Of a point file (NPY, XYZ, TXT, CSV, PCD,
    LAS, or PLY without faces) with more points than asked for, a random subset is taken; of one with fewer, all
    points come as often as they go into the number, and a random subset once more. All are functions of the seed and
    the file's name (not its folder). Points without a place (NaN) are left out. Notes tell what was resampled,
    left out or passed over. :class:`csgnn_dgl.data.CloudTransform` centres and scales.

    Parameters
    ----------
    path
        The file; its suffix, in upper or lower case, tells the format.
    num_points
        Points to return.
    seed
        Seed of the sampling, not negative.
    up_axis
        The axis that points up in the file, ``"z"`` or ``"y"``.

    Returns
    -------
    numpy.ndarray
        Coordinates, (num_points, 3) float64, z up.

    Raises
    ------
    InputError
        If the file is missing or broken, its format unknown, a mesh has no faces or no area, a coordinate is
        NaN or infinite in all points or in a mesh, or the points coincide.
    """
    path = Path(path)
    if num_points < 2:
        raise InputError(f"{path}: num_points is {num_points}; ask for at least 2 points.")
    if seed < 0:
        raise InputError(f"{path}: seed is {seed}; give a whole number from 0.")
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file; give a mesh or point file ({_formats()}).")
    rng = np.random.default_rng([seed, zlib.crc32(path.name.encode("utf-8", "surrogateescape"))])
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"{path}: format {path.suffix or '(no suffix)'!r} is unknown; give one of {_formats()}.")
    with np.errstate(invalid="ignore"):  # numbers that are none are looked for below
        points, faces = READERS[suffix](path)
    if faces is None:
        points = _finite_rows(path, points)
    _check_coordinates(path, points)
    if faces is not None and len(faces) == 0:
        raise InputError(
            f"{path}: the mesh has no faces, so there is no surface to sample; export it with faces, or give its "
            f"points as PLY, XYZ, NPY or CSV."
        )
    if faces is not None:
        points = sample_mesh(path, points, faces, num_points, rng)
    elif len(points) < num_points:
        note(path, f"clouds of fewer points are resampled to {num_points}: some points come several times")
        points = points[resampled(len(points), num_points, rng)]
    elif len(points) > num_points:
        points = points[np.sort(rng.choice(len(points), num_points, replace=False))]
    if (extent := float(np.ptp(points, axis=0).max())) < SMALLEST_EXTENT:
        raise InputError(f"{path}: the shape {no_extent(extent)}; remove or repair the file.")
    return z_up(points, up_axis, str(path))


def read_folder(
    folder: str | os.PathLike[str],
    split: str,
    num_points: int = 1024,
    seed: int = 0,
    up_axis: str = "z",
    progress: bool = False,
) -> PointClouds:
    """Read one split of a folder of classes, each with the folders ``train`` and ``test``.

    The classes are the folders that have a ``train`` or a ``test`` folder, in alphabetical order: the same
    for both splits. Every file in them is read by :func:`read_cloud`; hidden files, files of other formats (textures,
    notes), broken links, files that may not be read and folders within are passed over. A note says of how many of
    each, and which folders are no classes; of hidden files it counts those of a format that would be read.

    Parameters
    ----------
    folder
        The folder that holds the class folders.
    split
        ``"train"`` or ``"test"``.
    num_points, seed, up_axis
        As in :func:`read_cloud`; each file has a stream of its own, so files may come and go.
    progress
        Show a progress bar on stderr.

    Returns
    -------
    PointClouds
        Named ``class/file``; coordinates (shapes, num_points, 3) float64, z up.

    Raises
    ------
    InputError
        If there are no classes, a class has no file to train on, the whole split has none, a folder or file cannot
        be read, or the name of one is not text.
    """
    folder = Path(folder)
    check_split(split, CLOUD_SPLITS, folder)
    class_names = class_folders(folder)
    if not class_names:
        raise InputError(f"{folder}: no class folders; arrange the files as class/train/* and class/test/*.")
    files, labels = [], []
    skipped: Counter[str] = Counter()
    for label, name in enumerate(class_names):
        check_name(folder / name)
        of_class, others = _files(folder / name / split)
        if split == "train" and not of_class:
            raise InputError(
                f"{folder / name / split}: no mesh or point file to train on{_told(others, ' (passed over: {})')}; put "
                f"some there ({_formats()}) or remove the class."
            )
        files.extend(of_class)
        labels.extend([label] * len(of_class))
        skipped += others
    if not files:
        raise InputError(
            f"{folder}: no class has a mesh or point file in {split}/{_told(skipped, ' (passed over: {})')}; put some "
            f"there ({_formats()})."
        )
    for path in files:
        check_name(path)
    if told := [text for text in (_told(skipped, "passed over {}"), _no_classes(folder, class_names)) if text]:
        note(f"{folder} ({split})", "; ".join(told))
    shown = progress_bar(files, desc=f"reading {split} shapes", unit="file", disable=not progress)
    with notes_together(f"{folder} ({split})"):
        points = np.stack([read_cloud(path, num_points, seed, up_axis) for path in shown])
    names = tuple(f"{path.parent.parent.name}/{path.name}" for path in files)
    return PointClouds(points, np.array(labels, dtype=np.int64), class_names, names, source=f"{folder} ({split})")


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in `folder` that have a ``train`` or ``test`` folder, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the one that holds the class folders.")
    shown = [entry.name for entry in _entries(folder) if not entry.name.startswith(".")]
    return tuple(name for name in shown if any(os.path.isdir(folder / name / split) for split in CLOUD_SPLITS))


def _files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the readable files of a folder, sorted by name, and how many of which kind are passed over."""
    files: list[Path] = []
    skipped: Counter[str] = Counter()
    for path in _entries(folder) if os.path.isdir(folder) else []:
        known = path.suffix.lower() in READERS
        if path.name.startswith("."):
            skipped["hidden"] += known
        elif path.is_symlink() and not os.path.exists(path):
            skipped["broken links"] += 1
        elif os.path.isdir(path):
            skipped["folders"] += 1
        elif not known or not os.path.isfile(path):
            skipped[path.suffix.lower() or "without suffix"] += 1
        elif not os.access(path, os.R_OK):
            skipped["without permission to read"] += 1
        else:
            files.append(path)
    return files, +skipped


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted by name."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({reason(error)}); mend its permissions.") from None


def _told(skipped: Counter[str], form: str) -> str:
    """Say what is passed over, the most frequent first; nothing where nothing is."""
    shown = ", ".join(
        f"{kind} ({count})" for kind, count in sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    )
    return form.format(shown) if shown else ""


def _no_classes(folder: Path, class_names: tuple[str, ...]) -> str:
    """Say which folders are no classes."""
    shown = [path.name for path in _entries(folder) if path.name[0] != "." and os.path.isdir(path)]
    others = [
        name if os.access(folder / name, os.X_OK) else f"{name} (without permission to enter)"
        for name in shown
        if name not in class_names
    ]
    if not others:
        return ""
    more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
    return f"no class, for want of train/ and test/: {', '.join(others[:MOST])}{more}"


def _finite_rows(path: Path, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out points without a place, which depth cameras write where they saw nothing."""
    finite = np.isfinite(points).all(axis=1)
    if finite.all() or not finite.any():
        return points
    note(
        path, f"{np.count_nonzero(~finite)} of {len(points)} points have a coordinate that is NaN or infinite; left out"
    )
    return points[finite]


def _formats() -> str:
    return ", ".join(suffix[1:] for suffix in READERS)


def _check_coordinates(path: Path, points: NDArray[np.float64]) -> None:
    """Refuse coordinates that cannot be computed with."""
    if len(points) == 0:
        raise InputError(f"{path}: the file has no points; remove it.")
    if not np.isfinite(points).all():
        row = int(np.argmin(np.isfinite(points).all(axis=1)))
        raise InputError(f"{path}: point {row} has a coordinate that is NaN or infinite; remove or repair it.")
    if np.abs(points).max() > LARGEST_COORDINATE:
        raise InputError(
            f"{path}: a coordinate is {np.abs(points).max():.3g}, beyond {LARGEST_COORDINATE:g}; rescale the shape."
        )
