"""Clouds in HDF5 files: ModelNet40 as ``modelnet40_ply_hdf5_2048``, ScanObjectNN, and others laid out like them."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import check_announced, check_regular, read_bytes
from csgnn_dgl.data.clouds.axes import z_up
from csgnn_dgl.data.clouds.records import PointClouds, checked_labels
from csgnn_dgl.data.clouds.sampling import resampled
from csgnn_dgl.data.splits import CLOUD_SPLITS, check_split
from csgnn_dgl.data.text import read_lines
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.notes import note, notes_together

if TYPE_CHECKING:
    import h5py

UP_AXIS_BY_NUM_POINTS = {2048: "y", 1024: "z"}
SUFFIXES = (".h5", ".hdf5")
CLASS_FILES = ("shape_names.txt", "class_names.txt", "classes.txt")
SCAN_FILE = "objectdataset"
SCAN_CLASSES = tuple(
    [
        "bag",
        "bin",
        "box",
        "cabinet",
        "chair",
        "desk",
        "display",
        "door",
        "shelf",
        "table",
        "bed",
        "pillow",
        "sink",
        "sofa",
        "toilet",
    ]
)
"""ScanObjectNN: what the names of its files have in common, and its classes in the order of their labels."""
POINT_KEYS = (
    *("data", "points", "point_clouds", "pointclouds", "point_cloud", "pointcloud", "clouds", "point_set", "pts"),
    *("pc", "pcs", "pos", "coords", "coordinates", "xyz", "x"),
)
FEATURE_KEYS = {
    "normals": ("normal", "normals"),
    "colours": ("colour", "colours", "color", "colors", "rgb"),
    "intensities": ("intensity", "intensities"),
}
LABEL_KEYS = (
    *("label", "labels", "y", "target", "targets", "class", "classes", "class_id", "class_ids", "cls"),
    *("category", "categories"),
)
CENTRED, SCALED = 0.02, 0.05
"""How far the mean of a cloud may lie from the origin, and its largest norm from 1, to count as centred and scaled."""


class Stored(NamedTuple):
    """What a file holds: points (shapes, points, 3), labels (shapes,), names of the shapes, and the files."""

    path: Path
    points: NDArray[Any]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    features: dict[str, NDArray[Any]]


def read_modelnet40(
    folder: str | os.PathLike[str],
    split: str,
    up_axis: str = "auto",
    num_points: int | None = 1024,
    features: Sequence[str] = (),
) -> PointClouds:
    """Read one split of a data set in HDF5 files and turn it z up.

    The folder of ModelNet40 holds ``train_files.txt`` and ``test_files.txt`` (the HDF5 files of a split, one per line;
    a folder in front of the file name is ignored), ``shape_names.txt`` (one class per line, in the order of the labels)
    and the HDF5 files with the keys ``data`` (shapes, points, 3), ``label`` (shapes, 1) and perhaps ``name``; names
    also come from ``ply_data_train_0_id2file.json`` and the like beside them.

    Other data sets may lack the lists, as ScanObjectNN does: then the files with "train" or "test" in their names are
    those of a split; call points and labels otherwise; count labels from 1; have no names of classes; have more than
    three coordinates, of which the first three are used. Notes tell what was assumed. Clouds that are not centred and
    scaled to the unit ball are marked so (`PointClouds.normalised`), and a batch of them will be.

    Parameters
    ----------
    folder
        Where the files are.
    split
        ``"train"`` or ``"test"``.
    up_axis
        The axis that points up in the files, ``"y"`` or ``"z"``. ``"auto"`` decides by the number of points
        per shape in each file: 2048, the files everybody downloads, are y up; 1024 are z up.
    num_points
        How many points of each shape to use: the first ones, which are a random sample of its surface. Where there
        are fewer, some come several times. ``None`` uses all.
    features
        What the points have to carry: ``"normals"``, ``"colours"`` or ``"intensities"``, from a data set of such a name
        in each file, as the ``normal`` of ModelNet40.

    Returns
    -------
    PointClouds
        Coordinates (shapes, num_points, 3) with z up.

    Raises
    ------
    InputError
        If a file is missing, truncated, lacks points or labels, or holds something else than described above, or if
        ``"auto"`` cannot tell which axis is up.
    """
    folder = Path(folder)
    check_split(split, CLOUD_SPLITS, folder)
    if num_points is not None and num_points < 1:
        raise InputError(f"{folder}: num_points is {num_points}; give a positive number, or none for all points.")
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the one that holds {split}_files.txt.")
    listed = _class_names(folder)
    paths = _files(folder, split)
    if not _lists(folder):
        note(f"{folder} ({split})", f"no {split}_files.txt: read {', '.join(path.name for path in paths)}")
    with notes_together(f"{folder} ({split})"):
        parts = [_read_file(path, features) for path in paths]
    class_names, first = _classes(folder, split, listed, [part.labels for part in parts])
    clouds: list[PointClouds] = []
    with notes_together(f"{folder} ({split})"):
        for part in parts:
            labels = checked_labels(part.labels - first, len(class_names), str(part.path))
            points, carried = _oriented(part, up_axis, num_points)
            clouds.append(PointClouds(points, labels, class_names, part.names, str(part.path), features=carried))
            if clouds[-1].num_points != clouds[0].num_points:
                raise InputError(
                    f"{part.path}: {clouds[-1].num_points} points per shape but the other files have "
                    f"{clouds[0].num_points}; choose num_points to use the same number of all."
                )
    normalised = all(_are_normalised(part.points) for part in parts)
    if not normalised:
        note(f"{folder} ({split})", "the clouds are not centred and scaled to the unit ball in the files; they will be")
    names = tuple(name for part in parts for name in part.names) if all(part.names for part in parts) else ()
    points, labels = (np.concatenate([getattr(part, key) for part in clouds]) for key in ("points", "labels"))
    carried = {name: np.concatenate([part.features[name] for part in clouds]) for name in features}
    return PointClouds(points, labels, class_names, names, f"{folder} ({split})", normalised, carried)


def hdf5_files(folder: Path, split: str | None = None) -> list[Path]:
    """Return the HDF5 files of a folder, sorted; those of a split by their names."""
    other = next((word for word in CLOUD_SPLITS if word != split), "")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if split is None:
        return found
    return [path for path in found if split in path.stem.lower() and other not in path.stem.lower()]


def _files(folder: Path, split: str) -> list[Path]:
    """Return the files of a split: those of its list, or else those with its name."""
    if _lists(folder):
        lines = _lines(folder / f"{split}_files.txt")
        return [folder / PurePosixPath(line.replace("\\", "/")).name for line in lines]
    paths = hdf5_files(folder, split)
    if not paths:
        raise InputError(
            f"{folder}: there is neither {split}_files.txt (beside shape_names.txt) nor an HDF5 file with {split!r} in "
            f"its name; add one of them."
        )
    if len(paths) > 1 and all(SCAN_FILE in path.stem for path in paths):
        raise InputError(
            f"{folder}: {len(paths)} variants of ScanObjectNN for {split} ({', '.join(path.name for path in paths)}); "
            "give a folder with one of each split."
        )
    return paths


def _class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the classes, if there is a file of them."""
    path = next((folder / name for name in CLASS_FILES if (folder / name).exists()), None)
    if path is None and _lists(folder):
        path = folder / CLASS_FILES[0]
    names = tuple(_lines(path)) if path is not None else ()
    if path is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: class {twice!r} appears twice; name each class once.")
    return names


def _classes(
    folder: Path, split: str, listed: tuple[str, ...], labels: list[NDArray[np.int64]]
) -> tuple[tuple[str, ...], int]:
    """Return the names of the classes and the label of the first."""
    own = np.concatenate(labels)
    low, high = int(own.min()), int(own.max())
    if listed and low < 1:
        return listed, 0
    other = next(name for name in CLOUD_SPLITS if name != split)  # has the same classes, and perhaps others
    for path in _files(folder, other) if _has(folder, other) else []:
        beside = _read_labels(path)
        low, high = min(low, int(beside.min())), max(high, int(beside.max()))
    place = f"{folder} ({split})"
    if listed:
        first = int(low >= 1 and high == len(listed))
        if first:
            note(place, f"labels are counted from 1 to {high}")
        return listed, first
    first = 1 if low >= 1 else 0
    if high == len(SCAN_CLASSES) - 1 and first == 0 and all(SCAN_FILE in path.stem for path in _files(folder, split)):
        note(place, "the classes are the 15 of ScanObjectNN")
        return SCAN_CLASSES, 0
    counted = ", counted from 1" if first else ""
    note(place, f"no {CLASS_FILES[0]}: {high - first + 1} classes by their labels{counted}")
    return tuple(f"class {number}" for number in range(first, high + 1)), first


def _has(folder: Path, split: str) -> bool:
    """Whether there are files of a split."""
    if _lists(folder):
        return (folder / f"{split}_files.txt").exists()
    return bool(hdf5_files(folder, split))


def _lists(folder: Path) -> bool:
    """Whether the folder has a list of the files of a split."""
    return any((folder / f"{name}_files.txt").exists() for name in CLOUD_SPLITS)


def _lines(path: Path) -> list[str]:
    return read_lines(path, "give the folder of modelnet40_ply_hdf5_2048 as it was unpacked", "unpack it again")


def _read_file(path: Path, features: Sequence[str]) -> Stored:
    """Read one HDF5 file."""
    content = _content(path, ("data", "label", "name", *features))
    points, labels = content["data"], content["label"]
    names = tuple(
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in np.ravel(content["name"])
    )
    carried = {name: content[name] for name in features}
    return Stored(path, points, labels, names or _names_beside(path, stored=len(points)), carried)


def _read_labels(path: Path) -> NDArray[np.int64]:
    return _content(path, ("label",))["label"]


def _content(path: Path, wanted: tuple[str, ...]) -> Mapping[str, NDArray[Any]]:
    """Read what is wanted of ``data``, ``label`` and ``name`` of a file, whatever they are called in it."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file, but the list file names it; unpack the archive again.")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            inside = [key for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink)]
            sets = {key: file[key] for key in inside if isinstance(file[key], h5py.Dataset)}
            found: dict[str, NDArray[Any]] = {}
            if "data" in wanted:
                found["data"] = _points(path, sets)
            if "label" in wanted:
                found["label"] = _labels(path, sets)
            if "name" in wanted:
                if "name" in sets:
                    _check_stored(path, sets["name"])
                found["name"] = sets["name"][()] if "name" in sets else np.array([])
            for name in FEATURE_KEYS:
                if name in wanted:
                    found[name] = _feature(path, sets, name)
            return found
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError) as error:  # of h5py
        raise InputError(f"{path}: the file is no complete HDF5 file ({reason(error)}); fetch it again.") from None


def _pick(path: Path, sets: Mapping[str, "h5py.Dataset"], keys: tuple[str, ...]) -> "h5py.Dataset":
    """Return the data set of the first of these names."""
    for key in keys:
        for name, item in sets.items():
            if name.lower() == key:
                if key != keys[0]:
                    note(path, f"{keys[0]} is called {name!r}")
                return item
    raise InputError(
        f"{path}: there is no data set {keys[0]!r} (found: {', '.join(sorted(sets)) or 'nothing'}); use the files of "
        f"modelnet40_ply_hdf5_2048, or call points and labels 'data' and 'label'."
    )


def _points(path: Path, sets: Mapping[str, "h5py.Dataset"]) -> NDArray[Any]:
    """Return the points (shapes, points, 3); shape and dtype are checked before anything is read."""
    data = _pick(path, sets, POINT_KEYS)
    if data.ndim == 3 and data.shape[1] == 3 and data.shape[2] > 8:
        raise InputError(
            f"{path}: the points have shape {data.shape}; swap the last two axes, they have to be (shapes, points, 3)."
        )
    if data.ndim != 3 or not 3 <= data.shape[2] <= 64:
        raise InputError(f"{path}: the points have shape {data.shape}; they have to be (shapes, points, 3).")
    if data.dtype.kind != "f":
        raise InputError(f"{path}: the points have dtype {data.dtype}; they have to be float32.")
    if data.shape[2] > 3:
        note(path, f"x, y, z are the first three of {data.shape[2]} coordinates, the others were passed over")
    _check_stored(path, data)
    return data[:, :, :3]


def _feature(path: Path, sets: Mapping[str, "h5py.Dataset"], name: str) -> NDArray[Any]:
    """Return what the points carry, (shapes, points, numbers)."""
    found = [item for key, item in sets.items() if key.lower() in FEATURE_KEYS[name]]
    if not found:
        raise InputError(
            f"{path}: the points have no {name} (a data set {' or '.join(FEATURE_KEYS[name])}; found: "
            f"{', '.join(sorted(sets))}); give files with them, or ask for no features."
        )
    _check_stored(path, found[0])
    values = found[0][()]
    return values[..., None] if values.ndim == 2 else values


def _labels(path: Path, sets: Mapping[str, "h5py.Dataset"]) -> NDArray[np.int64]:
    """Return the labels (shapes,) as whole numbers, wherever they begin."""
    stored = _pick(path, sets, LABEL_KEYS)
    _check_stored(path, stored)
    labels = np.asarray(stored[()])
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind == "f" and labels.size and np.array_equal(labels, np.rint(labels)):
        labels = labels.astype(np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise InputError(
            f"{path}: the labels have shape {labels.shape} and dtype {labels.dtype}; give one whole number per shape."
        )
    return labels.astype(np.int64)


def _check_stored(path: Path, data: "h5py.Dataset") -> None:
    """Refuse data sets that are in other files, or announce far more than the file has."""
    if data.external or data.is_virtual:
        raise InputError(f"{path}: the data set {data.name} is stored in other files; copy it into this one.")
    check_announced(path, float(data.size or 0) * data.dtype.itemsize, check_regular(path))


def _oriented(
    part: Stored, up_axis: str, num_points: int | None
) -> tuple[NDArray[np.float32] | NDArray[np.float64], dict[str, NDArray[Any]]]:
    """Return the points to use, z up, and what they carry."""
    stored = part.points.shape[1]
    if up_axis == "auto":
        if stored not in UP_AXIS_BY_NUM_POINTS:
            raise InputError(
                f"{part.path}: {stored} points per shape do not tell which axis is up (2048: y, 1024: z); "
                f"set up_axis to 'y' or 'z'."
            )
        up_axis = UP_AXIS_BY_NUM_POINTS[stored]
        if not part.path.name.startswith("ply_data"):
            note(part.path, f"{stored} points per shape are taken to be {up_axis} up; data.up_axis says otherwise")
    count = stored if num_points is None else num_points
    if count > stored:
        note(part.path, f"clouds of fewer points are resampled to {count}: some points come several times")
    chosen = slice(count) if count <= stored else resampled(stored, count, np.random.default_rng(0))
    carried: dict[str, NDArray[Any]] = {}
    for name, values in part.features.items():
        if values.shape[:2] != part.points.shape[:2]:
            raise InputError(
                f"{part.path}: the {name} have shape {values.shape} for points {part.points.shape}; give each "
                "point its own."
            )
        turned = name == "normals" and values.shape[2] == 3
        carried[name] = z_up(values[:, chosen], up_axis, str(part.path)) if turned else values[:, chosen]
    return z_up(part.points[:, chosen], up_axis, str(part.path)), carried


def _are_normalised(points: NDArray[Any]) -> bool:
    """Whether all clouds are centred and scaled to the unit ball, over all their points."""
    wide = points.astype(np.float32)
    means = np.linalg.norm(wide.mean(axis=1), axis=-1)
    largest = np.linalg.norm(wide, axis=-1).max(axis=1)
    return bool((means < CENTRED).all() and (np.abs(largest - 1) < SCALED).all())


def _names_beside(path: Path, stored: int) -> tuple[str, ...]:
    """Return the names of the shapes of a file from the list that the published archive has beside it, if any."""
    match = re.fullmatch(r"(.*\D)(\d+)\.h5", path.name)
    beside = path.with_name(f"{match[1]}_{match[2]}_id2file.json") if match else path
    if match is None or not beside.is_file():
        return ()
    try:
        names = tuple(PurePosixPath(name).stem for name in json.loads(read_bytes(beside).decode("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{beside}: the names of the shapes cannot be read ({reason(error)}); unpack it again."
        ) from None
    if len(names) != stored:
        raise InputError(f"{beside}: {len(names)} names for {stored} shapes; unpack the archive again.")
    return names
