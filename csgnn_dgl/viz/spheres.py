"""The concentric heterograph as in Fig. 3b, and the neighbourhoods of pooling as in Fig. 3a."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.icosphere import icosphere
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL
from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.viz.space import FloatArray, space_axes, towards_viewer

if TYPE_CHECKING:
    import dgl
    from mpl_toolkits.mplot3d import Axes3D

COLOURS = {INTRA: "#0b6e99", RADIAL: "#d9730d"}
WIDTHS = {INTRA: 1.0, RADIAL: 1.7}
SURFACE, FAINT, CHOSEN = (0.81, 0.91, 0.95), "#93aab5", "#b00020"
RIM = 0.12
"""How far in front of the middle, in radii, vertices are still shown when the front is cut away."""


def draw_heterograph(
    graph: ConcentricLevel | dgl.DGLGraph,
    axes: Axes3D | None = None,
    cut: bool = True,
    *,
    sphere: int | None = None,
    vertex: int | None = None,
    title: str | None = None,
) -> Axes3D:
    """Draw the spheres of a level with their intra edges in blue and the radial edges between them in orange.

    Parameters
    ----------
    graph
        A level of a :class:`~csgnn_dgl.ConcentricGrid` or a heterograph of
        :func:`~csgnn_dgl.concentric_heterograph`, whose edges may have been edited; levels 0 to 2 with few spheres are
        legible.
    axes
        Three-dimensional matplotlib axes; by default those of a new figure.
    cut
        Whether to leave out the half in front, so that one sees inside; otherwise the spheres are transparent.
    sphere
        Number of one sphere, from the innermost, whose edges are picked out of all others, which are faint.
    vertex
        Number of one vertex (sphere by sphere) whose neighbourhood is picked out: what both
        convolutions read (Fig. 3b).
    title
        Title of the axes.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.

    Raises
    ------
    InputError
        If `sphere` or `vertex` is not there, or both are given.
    """
    level = ConcentricLevel.of(graph)
    heterograph = level.graph.cpu()
    position = heterograph.nodes[NODE].data["position"].numpy().astype(float)
    edges = {name: np.stack([side.numpy() for side in heterograph.edges(etype=name)], axis=1) for name in COLOURS}
    _check_choice(sphere, vertex, level)
    axes = space_axes(axes)
    view = towards_viewer(axes)
    of_vertex = np.repeat(np.arange(level.num_spheres), level.num_vertices)
    shown = (position @ view <= RIM * (of_vertex + 1) / level.num_spheres) | (not cut)
    if vertex is not None and not shown[vertex]:
        # the picture is turned so that the vertex and all around it are in the half that is shown
        direction = -position[vertex] / np.linalg.norm(position[vertex])
        elevation, azimuth = np.rad2deg([np.arcsin(direction[2]), np.arctan2(direction[1], direction[0])])
        axes.view_init(elev=elevation + 25, azim=azimuth + 25)
        view = towards_viewer(axes)
        shown = position @ view <= RIM * (of_vertex + 1) / level.num_spheres
    all_alike, named = sphere is None and vertex is None, set[str]()
    faces = icosphere(level.level).faces
    for number in reversed(range(level.num_spheres)):
        order = 4 * (level.num_spheres - number)
        if cut:
            _draw_surface(axes, position[number * level.num_vertices + faces], shown[faces], view, order)
        for name, colour in COLOURS.items():
            source, target = edges[name].T
            # a radial edge goes with the outer one of its spheres
            kept = (np.maximum(of_vertex[source], of_vertex[target]) == number) & (source < target)
            visible = shown[source] & shown[target]
            picked = np.full(len(source), all_alike)
            if sphere is not None:
                picked = (of_vertex[source] == sphere) | (of_vertex[target] == sphere)
            if vertex is not None:
                picked = (source == vertex) | (target == vertex)
                visible = visible | picked
            place, bold = order + 1 + (name == RADIAL), 1.0 if vertex is None else 1.6
            _draw_lines(axes, position[edges[name][kept & visible & ~picked]], FAINT, 0.6, place)
            lines = position[edges[name][kept & visible & picked]]
            label = name if vertex is None and name not in named else ""
            if _draw_lines(axes, lines, colour, bold * WIDTHS[name], place, label):
                named.add(name)
        own = shown & (of_vertex == number)
        if all_alike:
            axes.scatter(*position[own].T, s=10, c="#084c6b", depthshade=False, zorder=order + 3)
    if vertex is not None:
        _draw_neighbours(axes, position, edges, vertex, 4 * level.num_spheres + 8)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.04, 1.04), fontsize=8, frameon=False)
    if title:
        axes.set_title(title)
    return axes


def draw_pooling(
    level: int, axes: Axes3D | None = None, *, vertex: int | None = None, title: str | None = None
) -> Axes3D:
    """Draw one sphere of a level, the vertices of the next coarser one on it, and what one of these pools (Fig. 3a).

    Parameters
    ----------
    level
        The finer level, at least 1; 1 to 3 are legible.
    axes
        Three-dimensional matplotlib axes; by default those of a new figure.
    vertex
        Number of the coarse vertex; by default the one in the middle that has six neighbours, if there is one.
    title
        Title of the axes.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.

    Raises
    ------
    InputError
        If the coarse level has no such vertex, or there is no coarser level.
    """
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    if level < 1:
        raise InputError(f"level is {level}; give at least 1, there is no level coarser than 0")
    fine, coarse = icosphere(level), icosphere(level - 1)
    axes = space_axes(axes)
    view = towards_viewer(axes)
    if vertex is None:
        six = coarse.valences == coarse.valences.max()
        vertex = int(np.argmax(np.where(six, coarse.vertices @ view, -2.0)))
    if not 0 <= vertex < coarse.num_vertices:
        raise InputError(f"vertex is {vertex}; give 0 to {coarse.num_vertices - 1}, the vertices of level {level - 1}")
    centre = coarse.vertices[vertex]
    if centre @ view < 0.5:
        elevation, azimuth = np.rad2deg([np.arcsin(centre[2]), np.arctan2(centre[1], centre[0])])
        axes.view_init(elev=elevation, azim=azimuth)
        view = towards_viewer(axes)
    shown = fine.vertices @ view >= -RIM
    _draw_surface(axes, fine.vertices[fine.faces], shown[fine.faces], view, 1)
    for sphere, colour, width, order in ((fine, "#7fb2c9", 0.8, 2), (coarse, COLOURS[INTRA], 1.8, 3)):
        lines = sphere.vertices[sphere.edges[shown[sphere.edges].all(axis=1)]]
        text = f"level {sphere.level}"
        # a chord of the coarse sphere runs below the fine one: it is drawn through the middle of its arc
        middle = lines.mean(axis=1, keepdims=True)
        if sphere is coarse:
            middle /= np.linalg.norm(middle, axis=2, keepdims=True)
        bent = np.concatenate([lines[:, :1], middle, lines[:, 1:]], axis=1)
        axes.add_collection3d(Line3DCollection(bent, colors=colour, linewidths=width, label=text, zorder=order))
    front = np.flatnonzero(shown[: coarse.num_vertices])
    axes.scatter(*fine.vertices[front].T, s=22, c=COLOURS[INTRA], depthshade=False, zorder=4)
    ring = fine.neighbours[vertex][fine.neighbours[vertex] >= 0]
    spokes = np.stack([np.broadcast_to(centre, (len(ring), 3)), fine.vertices[ring]], axis=1)
    axes.add_collection3d(Line3DCollection(spokes, colors=COLOURS[RADIAL], linewidths=2.4, zorder=5))
    pooled = np.append(ring, vertex)
    text = f"{len(pooled)} pooled into {vertex}"
    axes.scatter(*fine.vertices[pooled].T, s=46, c=COLOURS[RADIAL], depthshade=False, zorder=6, label=text)
    axes.scatter(*centre, s=70, c=CHOSEN, depthshade=False, zorder=7)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.04, 1.04), fontsize=8, frameon=False)
    if title:
        axes.set_title(title)
    return axes


def _check_choice(sphere: int | None, vertex: int | None, level: ConcentricLevel) -> None:
    if sphere is not None and vertex is not None:
        raise InputError(f"sphere is {sphere} and vertex is {vertex}; pick out one of them")
    for name, value, count in (
        ("sphere", sphere, level.num_spheres),
        ("vertex", vertex, level.num_spheres * level.num_vertices),
    ):
        if value is not None and not 0 <= value < count:
            raise InputError(f"{name} is {value}; give 0 to {count - 1}")


def _draw_lines(axes: Axes3D, lines: FloatArray, colour: str, width: float, order: int, label: str = "") -> bool:
    """Draw lines (L, 2, 3), and say whether there were any."""
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    if not len(lines):
        return False
    axes.add_collection3d(Line3DCollection(lines, colors=colour, linewidths=width, label=label or "_", zorder=order))
    return True


def _draw_surface(axes: Axes3D, corners: FloatArray, shown: NDArray[np.bool_], view: FloatArray, order: float) -> None:
    """Draw the faces (F, 3, 3) of which all corners (F, 3) are shown, darker where they are seen from the side."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    corners = corners[shown.all(axis=1)]
    normals = corners.mean(axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colours = np.array(SURFACE) * (0.86 + 0.14 * np.abs(normals @ view))[:, None]
    axes.add_collection3d(
        Poly3DCollection(corners, facecolors=colours, edgecolors=colours, linewidths=0.4, zorder=order)
    )


def _draw_neighbours(
    axes: Axes3D, position: FloatArray, edges: dict[str, FloatArray], vertex: int, order: float
) -> None:
    for name, colour in COLOURS.items():
        source, target = edges[name].T
        near = position[source[target == vertex]]
        if len(near):
            axes.scatter(
                *near.T, s=42, c=colour, depthshade=False, zorder=order, label=f"{len(near)} {name} neighbours"
            )
    axes.scatter(*position[vertex], s=80, c=CHOSEN, depthshade=False, zorder=order + 1, label=f"vertex {vertex}")
