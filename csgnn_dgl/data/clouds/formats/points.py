"""Point files: NPY, XYZ or TXT, and CSV."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError, reason


def read_points(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) float64 of an NPY, XYZ, TXT or CSV file.

    NPY holds an array (points, 3 or more). The text formats hold one point per line, its numbers separated by commas,
    semicolons, tabs or spaces; ``#`` starts a comment. The first line may be a header: if it names columns x, y and z,
    these are read, otherwise the first three. Further columns (normals, colours) are ignored.

    Raises
    ------
    InputError
        If the file is broken or holds something else.
    """
    return _read_npy(path) if path.suffix.lower() == ".npy" else _read_text(path)


def _read_npy(path: Path) -> NDArray[np.float64]:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged header makes Python's parser grumble before it fails
            array = np.load(file, allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python text, which fails in many ways
        raise InputError(f"{path}: not a complete NPY file of numbers ({reason(error)}); save it again.") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 3:
        shape = getattr(array, "shape", "of several arrays")
        raise InputError(f"{path}: the array has shape {shape}; save it as (points, 3).")
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: the array has dtype {array.dtype}; save real numbers.")
    return array[:, :3].astype(np.float64)


def _read_text(path: Path) -> NDArray[np.float64]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the file cannot be read as text ({reason(error)}); save it again.") from None
    lines = [line for line in (raw.partition("#")[0].strip() for raw in text.splitlines()) if line]
    if not lines:
        raise InputError(f"{path}: the file has no points; remove it.")
    delimiter = next((mark for mark in (",", ";", "\t") if mark in lines[0]), None)
    columns = (0, 1, 2)
    header = [cell.strip().strip('"') for cell in lines[0].split(delimiter)]
    if not any(_is_number(cell) for cell in header[:3]):
        names = [cell.lower() for cell in header]
        if all(names.count(axis) == 1 for axis in "xyz"):
            columns = (names.index("x"), names.index("y"), names.index("z"))
        lines = lines[1:]
        if not lines:
            raise InputError(f"{path}: the file has a header but no points; remove it.")
    try:
        return np.loadtxt(lines, np.float64, None, delimiter, usecols=columns, ndmin=2, quotechar='"')
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a table of three numbers per line ({reason(error)}); write x, y, z on each line."
        ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


READERS = dict.fromkeys((".npy", ".xyz", ".txt", ".csv"), lambda path: (read_points(path), None))
