"""Which way is up: every cloud leaves this package with z up."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError

Points = TypeVar("Points", NDArray[np.float32], NDArray[np.float64])


def z_up(points: Points, up_axis: str, source: str = "up_axis") -> Points:
    """Turn clouds (..., 3), whose axis `up_axis` points up, so that z does.

    From ``"y"`` they are rotated by 90 degrees about x, (x, y, z) -> (x, -z, y); with ``"z"`` they are returned as they
    are. Any other axis is an InputError that begins with `source`.
    """
    if up_axis == "z":
        return points
    if up_axis == "y":
        return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)
    raise InputError(f"{source}: up_axis is {up_axis!r}; give 'y' or 'z'.")
