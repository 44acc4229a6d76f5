"""Pictures that can be turned, by plotly: in notebooks, and as HTML by their ``write_html``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from csgnn_dgl.errors import InputError
from csgnn_dgl.graphs.heterograph import NODE
from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.viz.space import checked
from csgnn_dgl.viz.spheres import COLOURS

if TYPE_CHECKING:
    import dgl


def interactive_cloud(points: ArrayLike, values: ArrayLike | None = None, title: str = "") -> Any:
    """Return a cloud as a plotly figure.

    Parameters
    ----------
    points
        (N, 3) positions, any unit.
    values
        (N,) what colours the points; by default their height.
    title
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ImportError
        If plotly is not installed.
    InputError
        If shapes do not fit, or a number is not finite.
    """
    positions = checked(points, "points", 2)
    shades = positions[:, -1] if values is None else checked(values, "values", 1)
    if positions.shape[1] != 3 or len(shades) != len(positions):
        raise InputError(f"points has the shape {positions.shape} and values {shades.shape}; give (N, 3) and (N,)")
    marker = {"size": 3, "color": shades, "colorscale": "Viridis", "showscale": values is not None}
    x, y, z = positions.T
    return _figure([_plotly().Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker)], title)


def interactive_heterograph(graph: ConcentricLevel | dgl.DGLGraph, title: str = "") -> Any:
    """Return the vertices and edges of a level as a plotly figure, whose legend hides and shows each kind of edge.

    Parameters
    ----------
    graph
        As in `csgnn_dgl.viz.draw_heterograph`.
    title
        Title of the figure.

    Returns
    -------
    plotly.graph_objects.Figure
        The figure.

    Raises
    ------
    ImportError
        If plotly is not installed.
    """
    heterograph = ConcentricLevel.of(graph).graph.cpu()
    position = heterograph.nodes[NODE].data["position"].numpy()
    traces = []
    for name, colour in COLOURS.items():
        source, target = (side.numpy() for side in heterograph.edges(etype=name))
        once = source < target
        gap = np.full((int(once.sum()), 3), np.nan)  # lifts the pen
        x, y, z = np.stack([position[source[once]], position[target[once]], gap], axis=1).reshape(-1, 3).T
        line = {"color": colour, "width": 3}
        traces.append(_plotly().Scatter3d(x=x, y=y, z=z, mode="lines", line=line, name=name))
    x, y, z = position.T
    marker = {"size": 2, "color": "black"}
    traces.append(_plotly().Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker, name="vertices"))
    return _figure(traces, title)


def _plotly() -> Any:
    try:
        from plotly import graph_objects
    except ImportError as error:
        raise ImportError("interactive pictures need plotly; pip install plotly") from error
    return graph_objects


def _figure(traces: list[Any], title: str) -> Any:
    hidden = {"visible": False}
    scene = {"aspectmode": "data", "xaxis": hidden, "yaxis": hidden, "zaxis": hidden}
    layout = {"scene": scene, "title": title, "margin": {"l": 0, "r": 0, "b": 0, "t": 40 if title else 0}}
    return _plotly().Figure(traces, layout)
