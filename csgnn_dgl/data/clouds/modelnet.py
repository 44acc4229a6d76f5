"""ModelNet40 in the HDF5 layout of ``modelnet40_ply_hdf5_2048``."""

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from csgnn_dgl.data.clouds.axes import z_up
from csgnn_dgl.data.clouds.records import PointClouds, checked_labels
from csgnn_dgl.data.splits import CLOUD_SPLITS, check_split
from csgnn_dgl.data.text import read_lines
from csgnn_dgl.errors import InputError, reason

if TYPE_CHECKING:
    import h5py

UP_AXIS_BY_NUM_POINTS = {2048: "y", 1024: "z"}


def read_modelnet40(
    folder: str | os.PathLike[str], split: str, up_axis: str = "auto", num_points: int | None = 1024
) -> PointClouds:
    """Read one split of ModelNet40 and turn it z up.

    The folder holds ``train_files.txt`` and ``test_files.txt`` (the HDF5 files of a split, one per line; a
    folder in front of the file name is ignored), ``shape_names.txt`` (one class per line, in the order of the
    labels) and the HDF5 files with the keys ``data`` (shapes, points, 3), ``label`` (shapes, 1) and perhaps
    ``name``; names also come from ``ply_data_train_0_id2file.json`` and the like beside them. The clouds in them are
    centred and scaled to the unit ball already (`PointClouds.normalised`).

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
        How many points of each shape to use: the first ones, which are a random sample of its surface.
        ``None`` uses all.

    Returns
    -------
    PointClouds
        Coordinates (shapes, num_points, 3) with z up.

    Raises
    ------
    InputError
        If a file is missing, truncated, lacks a key, or holds something else than described above; if it has
        fewer points than asked for; or if ``"auto"`` cannot tell which axis is up.
    """
    folder = Path(folder)
    check_split(split, CLOUD_SPLITS, folder)
    if num_points is not None and num_points < 1:
        raise InputError(f"{folder}: num_points is {num_points}; give a positive number, or none for all points.")
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the one that holds {split}_files.txt.")
    class_names = tuple(_lines(folder / "shape_names.txt"))
    if len(set(class_names)) < len(class_names):
        twice = next(name for name in class_names if class_names.count(name) > 1)
        raise InputError(f"{folder / 'shape_names.txt'}: class {twice!r} appears twice; name each class once.")
    parts: list[PointClouds] = []
    for line in _lines(folder / f"{split}_files.txt"):
        path = folder / PurePosixPath(line.replace("\\", "/")).name
        parts.append(clouds := _read_file(path, class_names, up_axis, num_points))
        if clouds.num_points != parts[0].num_points:
            raise InputError(
                f"{path}: {clouds.num_points} points per shape but the other files have {parts[0].num_points}"
                f"; choose num_points to use the same number of all."
            )
    names = tuple(name for part in parts for name in part.names) if all(part.names for part in parts) else ()
    points, labels = (np.concatenate([getattr(part, key) for part in parts]) for key in ("points", "labels"))
    return PointClouds(points, labels, class_names, names, f"{folder} ({split})", normalised=True)


def _lines(path: Path) -> list[str]:
    return read_lines(path, "give the folder of modelnet40_ply_hdf5_2048 as it was unpacked", "unpack it again")


def _read_file(path: Path, class_names: tuple[str, ...], up_axis: str, num_points: int | None) -> PointClouds:
    """Read one HDF5 file."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file, but the list file names it; unpack the archive again.")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for key in ("data", "label"):
                if not isinstance(file.get(key), h5py.Dataset):
                    raise InputError(
                        f"{path}: there is no data set {key!r} (found: {', '.join(sorted(file)) or 'nothing'}"
                        f"); use the files of modelnet40_ply_hdf5_2048."
                    )
            data = file["data"]
            stored = _check_data(path, data, num_points)
            points = data[:, : num_points or stored]
            labels = file["label"][()]
            found = np.ravel(file["name"][()]) if "name" in file else ()
            names = tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in found)
            names = names or _names_beside(path, stored=len(data))
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:  # what h5py raises
        raise InputError(f"{path}: the file is no complete HDF5 file ({error}); fetch it again.") from None
    if up_axis == "auto":
        if stored not in UP_AXIS_BY_NUM_POINTS:
            raise InputError(
                f"{path}: {stored} points per shape do not tell which axis is up (2048: y, 1024: z); "
                f"set up_axis to 'y' or 'z'."
            )
        up_axis = UP_AXIS_BY_NUM_POINTS[stored]
    labels = checked_labels(labels, len(class_names), str(path))
    return PointClouds(z_up(points, up_axis, str(path)), labels, class_names, names, source=str(path))


def _names_beside(path: Path, stored: int) -> tuple[str, ...]:
    """Return the names of the shapes of a file from the list that the published archive has beside it, if any."""
    match = re.fullmatch(r"(.*\D)(\d+)\.h5", path.name)
    beside = path.with_name(f"{match[1]}_{match[2]}_id2file.json") if match else path
    if match is None or not beside.is_file():
        return ()
    try:
        names = tuple(PurePosixPath(name).stem for name in json.loads(beside.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{beside}: the names of the shapes cannot be read ({reason(error)}); unpack it again."
        ) from None
    if len(names) != stored:
        raise InputError(f"{beside}: {len(names)} names for {stored} shapes; unpack the archive again.")
    return names


def _check_data(path: Path, data: "h5py.Dataset", num_points: int | None) -> int:
    """Check shape and dtype before anything is read; return the number of stored points per shape."""
    if data.ndim != 3 or data.shape[2] != 3:
        raise InputError(f"{path}: 'data' has shape {data.shape}; it has to be (shapes, points, 3).")
    if data.dtype.kind != "f":
        raise InputError(f"{path}: 'data' has dtype {data.dtype}; it has to be float32.")
    stored = int(data.shape[1])
    if num_points is not None and stored < num_points:
        raise InputError(f"{path}: {stored} points per shape, fewer than the {num_points} asked for; lower num_points.")
    return stored
