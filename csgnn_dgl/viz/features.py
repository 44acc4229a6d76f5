"""Features on the spheres: on cut spheres in space, on vertices in space, and on a flat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.icosphere import icosphere, level_of
from csgnn_dgl.viz.space import add_colour_bar, checked, colour_scale, space_axes, towards_viewer

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D

MAP_SIZE = (360, 720)
"""Latitudes and longitudes at which a map is coloured."""


def draw_features(
    features: ArrayLike,
    axes: Axes3D | None = None,
    cut: bool = True,
    *,
    on: Literal["faces", "vertices"] = "faces",
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    value_name: str = "",
) -> Axes3D:
    """Colour the spheres by one value per vertex: from 0 upwards, or with white at 0 where there are negative values.

    Parameters
    ----------
    features
        (R, V) values, for example one channel of one cloud, or a sum over channels; V tells the level.
    axes
        Three-dimensional matplotlib axes; by default those of a new figure.
    cut
        Whether to leave out the half in front of the faces; otherwise the outermost sphere is seen.
    on
        "faces" colours each face by the mean of its corners. "vertices" draws a dot for each vertex whose value is not
        0, at its place in space, the larger the farther from 0: a sparse cloud's features look like the cloud.
    limits
        Values at the ends of the colours.
    title
        Title of the axes.
    value_name
        What the values are; where it is given there is a colour bar.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.

    Raises
    ------
    InputError
        If the shape does not fit, a value is not finite, or an argument is unknown.
    ValueError
        If V is no icosphere's number of vertices.
    """
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    values = checked(features, "features", 2)
    if on not in ("faces", "vertices"):
        raise InputError(f"on is {on!r}; give 'faces' or 'vertices'")
    sphere = icosphere(level_of(values.shape[1]))
    axes = space_axes(axes)
    view = towards_viewer(axes)
    colours = colour_scale(values, limits)
    if on == "vertices":
        _draw_vertices(axes, values, sphere.vertices, view, colours)
    else:
        shown = (sphere.vertices @ view <= 0.0)[sphere.faces].all(axis=1)
        numbers = range(len(values) - 1, -1, -1) if cut else [len(values) - 1]
        for order, number in enumerate(numbers):
            faces = sphere.faces[shown if cut else sphere.vertices[sphere.faces].mean(axis=1) @ view >= -0.1]
            shades = colours.to_rgba(values[number][faces].mean(axis=1))
            corners = sphere.vertices[faces] * (number + 1) / len(values)
            edges = shades * [0.92, 0.92, 0.92, 1.0]
            axes.add_collection3d(
                Poly3DCollection(corners, facecolors=shades, edgecolors=edges, linewidths=0.3, zorder=order)
            )
    if value_name:
        add_colour_bar(axes, colours, value_name)
    if title:
        axes.set_title(title)
    return axes


def draw_map(
    values: ArrayLike,
    axes: Any = None,
    *,
    limits: tuple[float, float] | None = None,
    title: str | None = None,
    value_name: str = "",
) -> Any:
    """Draw one sphere as a flat map (Mollweide, equal areas); every point has the colour of the nearest vertex.

    Parameters
    ----------
    values
        (V,) one value per vertex; V tells the level.
    axes
        Matplotlib axes with ``projection="mollweide"``; by default those of a new figure.
    limits, title, value_name
        As in `draw_features`.

    Returns
    -------
    matplotlib.projections.geo.MollweideAxes
        The axes that were drawn on.

    Raises
    ------
    InputError
        If the shape does not fit, a value is not finite, or the axes have another projection.
    ValueError
        If V is no icosphere's number of vertices.
    """
    numbers = checked(values, "values", 1)
    sphere = icosphere(level_of(len(numbers)))
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.figure(figsize=(6, 3.4), layout="constrained").add_subplot(projection="mollweide")
    if axes.name != "mollweide":
        raise InputError(f"axes have the projection {axes.name!r}; give 'mollweide'")
    latitude, longitude = (
        np.linspace(-np.pi / 2, np.pi / 2, MAP_SIZE[0] + 1),
        np.linspace(-np.pi, np.pi, MAP_SIZE[1] + 1),
    )
    y, x = np.meshgrid(*((edge[:-1] + edge[1:]) / 2 for edge in (latitude, longitude)), indexing="ij")
    directions = np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=-1)
    nearest = cKDTree(sphere.vertices).query(directions)[1]
    colours = colour_scale(numbers, limits)
    axes.pcolormesh(
        longitude, latitude, numbers[nearest], cmap=colours.cmap, norm=colours.norm, shading="flat", rasterized=True
    )
    axes.set(xticks=np.deg2rad([-120, -60, 0, 60, 120]), yticks=np.deg2rad([-60, -30, 0, 30, 60]))
    axes.tick_params(labelsize=6, colors="0.4")
    axes.grid(alpha=0.25, linewidth=0.5)
    if value_name:
        add_colour_bar(axes, colours, value_name)
    if title:
        axes.set_title(title, fontsize=10)
    return axes


def _draw_vertices(axes: Axes3D, values: Any, vertices: Any, view: Any, colours: Any) -> None:
    radii = (np.arange(len(values)) + 1) / len(values)
    position = (radii[:, None, None] * vertices).reshape(-1, 3)
    flat = values.reshape(-1)
    kept = np.flatnonzero(flat)
    kept = kept[np.argsort(position[kept] @ view)]
    share = np.abs(flat[kept]) / (np.abs(flat).max() or 1.0)
    nearness = (position[kept] @ view + 1) / 2
    sizes = (3.0 + 22.0 * share) * (0.4 + 0.6 * nearness)
    axes.scatter(*position[kept].T, s=sizes, c=colours.to_rgba(flat[kept]), depthshade=False, linewidths=0)
    turn = np.linspace(0, 2 * np.pi, 120)
    side = np.cross(view, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    circle = np.outer(np.cos(turn), side) + np.outer(np.sin(turn), np.cross(side, view))
    for radius in radii:
        axes.plot(*(radius * circle).T, color="0.8", linewidth=0.6, zorder=-1)
