"""Pictures of concentric heterographs and of features on them, for notebooks and docs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from csgnn_dgl.geometry.icosphere import FloatArray, icosphere, level_of
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL
from csgnn_dgl.graphs.levels import ConcentricLevel

if TYPE_CHECKING:
    import dgl
    from mpl_toolkits.mplot3d import Axes3D
    from torch import Tensor

COLOURS = {INTRA: "#0b6e99", RADIAL: "#d9730d"}
WIDTHS = {INTRA: 0.9, RADIAL: 1.3}
# The half of the ball in front of this plane is cut away, so that one sees inside.
TOWARDS_VIEWER = np.array([0.6, -0.8, 0.35])


def draw_heterograph(graph: ConcentricLevel | dgl.DGLGraph, axes: Axes3D | None = None, cut: bool = True) -> Axes3D:
    """Draw the vertices of a level, its intra edges in blue and its radial edges in orange.

    Parameters
    ----------
    graph
        A level of a :class:`~csgnn_dgl.ConcentricGrid` or a heterograph of
        :func:`~csgnn_dgl.concentric_heterograph`; levels 0 to 2 with few spheres are legible.
    axes
        Three-dimensional matplotlib axes; by default those of a new figure.
    cut
        Whether to leave out the half in front.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.
    """
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    axes = _ball_axes(axes)
    heterograph = ConcentricLevel.of(graph).graph.cpu()
    position = heterograph.nodes[NODE].data["position"].numpy()
    shown = (position @ TOWARDS_VIEWER <= 1e-6) | (not cut)
    for edge_type, colour in COLOURS.items():
        source, target = (side.numpy() for side in heterograph.edges(etype=edge_type))
        kept = shown[source] & shown[target] & (source < target)
        lines = np.stack([position[source[kept]], position[target[kept]]], axis=1)
        axes.add_collection3d(Line3DCollection(lines, colors=colour, linewidths=WIDTHS[edge_type], label=edge_type))
    axes.scatter(*position[shown].T, s=9, c="black", depthshade=False)
    return axes


def draw_features(features: Tensor | FloatArray, axes: Axes3D | None = None, cut: bool = True) -> Axes3D:
    """Colour the faces of the spheres by one value per vertex.

    Parameters
    ----------
    features
        (R, V) values of at least 0, for example one cloud's features summed over channels; V tells the level.
    axes, cut
        As in :func:`draw_heterograph`.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.

    Raises
    ------
    ValueError
        If V is no icosphere's number of vertices.
    """
    import matplotlib.pyplot as plt
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    axes = _ball_axes(axes)
    values = np.asarray(features, dtype=float)
    sphere = icosphere(level_of(values.shape[1]))
    shades = values[:, sphere.faces].mean(axis=2) / (values.max() or 1.0)
    for index, shade in enumerate(shades):
        corners = sphere.vertices[sphere.faces] * (index + 1) / len(values)
        shown = (corners.mean(axis=1) @ TOWARDS_VIEWER <= 0) | (not cut)
        colours = plt.get_cmap("viridis")(shade)
        colours[:, 3] = 0.25 + 0.75 * np.clip(3 * shade, 0, 1)
        axes.add_collection3d(
            Poly3DCollection(corners[shown], facecolors=colours[shown], edgecolors=(0, 0, 0, 0.06), linewidths=0.3)
        )
    return axes


def _ball_axes(axes: Axes3D | None) -> Axes3D:
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.figure(figsize=(5, 5)).add_subplot(projection="3d")
    axes.set_axis_off()
    axes.set_box_aspect((1, 1, 1), zoom=1.45)
    axes.view_init(elev=22, azim=-50)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    return axes
