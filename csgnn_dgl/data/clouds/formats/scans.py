"""Clouds of scanners: PCD (ASCII, binary, compressed), and LAS and LAZ where laspy is installed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.notes import note


def read_pcd(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) of a PCD file with pypcd4; other fields are passed over.

    Raises
    ------
    InputError
        If the file is broken or incomplete, or has no x, y and z.
    """
    from pypcd4.pypcd4 import PointCloud

    try:
        cloud = PointCloud.from_path(path)
        fields = tuple(cloud.fields)
        if set("xyz") <= set(fields):
            points = np.stack([np.asarray(cloud.pc_data[axis], dtype=np.float64) for axis in "xyz"], axis=-1)
            if len(points) < cloud.metadata.points:
                raise ValueError(f"it ends after {len(points)} of {cloud.metadata.points} points")
    except Exception as error:  # a reader of foreign formats fails in as many ways as there are broken files
        raise InputError(f"{path}: not a complete PCD file ({reason(error)}); export it again.") from None
    if not set("xyz") <= set(fields):
        raise InputError(f"{path}: there are no fields x, y and z ({', '.join(fields)}); export it with them.")
    _tell(path, [name for name in fields if name not in "xyz"])
    return points.reshape(-1, 3)


def read_las(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) of a LAS or LAZ file with laspy, scaled and moved as its header says.

    Raises
    ------
    InputError
        If laspy is missing, or the file is broken.
    """
    try:
        import laspy
    except ImportError:
        raise InputError(f"{path}: LAS and LAZ need laspy; install it: pip install 'laspy[lazrs]'.") from None
    try:
        cloud = laspy.read(path)
        points = np.asarray(cloud.xyz, dtype=np.float64)
        if len(points) < cloud.header.point_count:
            raise ValueError(f"it ends after {len(points)} of {cloud.header.point_count} points")
    except Exception as error:  # as above
        raise InputError(f"{path}: not a complete LAS file ({reason(error)}); export it again.") from None
    _tell(path, [name for name in cloud.point_format.dimension_names if name not in ("X", "Y", "Z")])
    return points.reshape(-1, 3)


def _tell(path: Path, others: list[str]) -> None:
    if others:
        note(path, f"x, y, z were read; passed over: {', '.join(others)}")


READERS = {
    ".pcd": lambda path: (read_pcd(path), None),
    ".las": lambda path: (read_las(path), None),
    ".laz": lambda path: (read_las(path), None),
}
