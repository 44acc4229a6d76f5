"""What all pictures in space share: axes of equal units, where the viewer stands, colours of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csgnn_dgl.errors import InputError

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from mpl_toolkits.mplot3d import Axes3D

FloatArray = NDArray[np.float64]

ELEVATION, AZIMUTH = 20.0, -55.0
"""Where the viewer stands, in degrees."""


def space_axes(axes: Axes3D | None, radius: float = 1.0) -> Axes3D:
    """Prepare axes for a ball of this radius, seen from afar; by default those of a new figure."""
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.figure(figsize=(5, 5), layout="constrained").add_subplot(projection="3d")
    axes.set_axis_off()
    axes.set_proj_type("ortho")
    axes.set_box_aspect((1, 1, 1), zoom=1.5)
    axes.view_init(elev=ELEVATION, azim=AZIMUTH)
    axes.set(xlim=(-radius, radius), ylim=(-radius, radius), zlim=(-radius, radius))
    axes.computed_zorder = False  # what is drawn later lies in front
    return axes


def towards_viewer(axes: Axes3D) -> FloatArray:
    """Return the direction (3,) from the origin to the viewer."""
    elevation, azimuth = np.deg2rad([axes.elev, axes.azim])
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def checked(values: ArrayLike, name: str, dimensions: int) -> FloatArray:
    """Return values as float64, on the CPU.

    Raises
    ------
    InputError
        If they have another number of dimensions, are empty, or one is not finite.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    array = np.asarray(values, dtype=float)
    if array.ndim != dimensions or array.size == 0:
        raise InputError(f"{name} has the shape {array.shape}; give {dimensions} dimensions, none of them empty")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise InputError(f"{name} has {len(bad)} values that are not finite, the first at {place}; give numbers only")
    return array


def colour_scale(values: FloatArray, limits: tuple[float, float] | None = None) -> ScalarMappable:
    """Return the colours of values: a scale from 0 upwards, or one with white at 0 where there are negative ones.

    Raises
    ------
    InputError
        If `limits` are not two ascending numbers.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    if limits is not None and not limits[0] < limits[1]:
        raise InputError(f"limits are {limits}; give the lower one first")
    largest = float(np.abs(values).max()) or 1.0
    signed = bool(values.min() < 0)
    low, high = limits or (-largest if signed else 0.0, largest)
    return ScalarMappable(Normalize(low, high), "RdBu_r" if low < 0 < high else "viridis")


def add_colour_bar(axes: Any, colours: ScalarMappable, text: str) -> None:
    """Put a small colour bar below axes."""
    bar = axes.figure.colorbar(colours, ax=axes, orientation="horizontal", shrink=0.55, aspect=30, pad=0.03)
    bar.set_label(text, fontsize=8)
    bar.ax.tick_params(labelsize=7)
