"""Arrays of points: NPY files."""

import math
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import check_regular
from csgnn_dgl.data.clouds.columns import coordinate_columns
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.notes import note

TRANSPOSED = 9
"""Rows up to which more columns are taken for a line of each coordinate, normal and colour."""


def read_npy(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) of an NPY file.

    It holds an array (points, 3 or more), whose further columns are passed over, or records with fields x, y and z.

    Raises
    ------
    InputError
        If the file is broken or holds something else.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged header makes Python's parser grumble before it fails
            _check_size(path, file)
            array = np.load(file, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # numpy parses the header as Python text, which fails in many ways
        raise InputError(f"{path}: not a complete NPY file of numbers ({reason(error)}); save it again.") from None
    shape = getattr(array, "shape", "of several arrays")
    if isinstance(array, np.ndarray) and array.dtype.names is not None and array.ndim == 1:
        columns = coordinate_columns(array.dtype.names, str(path))
        others = [name for place, name in enumerate(array.dtype.names) if place not in columns]
        if others:
            note(path, f"passed over: {', '.join(others)}")
        array = np.stack([array[array.dtype.names[place]] for place in columns], axis=1)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] < 3:
        raise InputError(f"{path}: the array has shape {shape}; save it as (points, 3).")
    if 3 <= array.shape[0] <= TRANSPOSED and array.shape[1] > max(8, array.shape[0]):
        raise InputError(f"{path}: the array has shape {shape}; save its transpose, (points, 3).")
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: the array has dtype {array.dtype}; save real numbers.")
    if array.shape[1] > 3:
        note(path, f"x, y, z are the first three of {array.shape[1]} columns, the others were passed over")
    return array[:, :3].astype(np.float64)


def _check_size(path: Path, file: BinaryIO) -> None:
    """Make sure that an NPY file has as many bytes as its header announces, which NumPy would make room for."""
    size = check_regular(path)
    if file.read(2) == b"PK":  # several arrays, of which none is read
        file.seek(0)
        return
    file.seek(0)
    major, _ = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    wanted = math.prod(shape) * dtype.itemsize
    if size - file.tell() < wanted:
        raise ValueError(f"it ends after {size - file.tell()} of {wanted} bytes")
    file.seek(0)


READERS = {".npy": lambda path: (read_npy(path), None)}
