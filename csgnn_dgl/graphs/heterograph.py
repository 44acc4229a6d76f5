"""The concentric grid of one level as a DGL heterograph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.geometry.icosphere import icosphere
from csgnn_dgl.graphs.tables import check_grid_arguments, intra_edges, radial_edges

if TYPE_CHECKING:
    import dgl

NODE = "vertex"
INTRA = "intra"
RADIAL = "radial"


def concentric_heterograph(level: int, num_spheres: int, kernel_size: int = 3) -> dgl.DGLGraph:
    """Build the heterograph of R concentric icospheres (Sec. 3.1 and 3.2, Fig. 3b).

    Parameters
    ----------
    level
        Level l of the spheres, V = 10·4^l + 2 vertices each.
    num_spheres
        Number of spheres R, at the radii 1/R, 2/R, ..., 1.
    kernel_size
        Odd size K of the largest radial kernel that is to run on the graph.

    Returns
    -------
    dgl.DGLGraph
        Nodes ``vertex``: R·V, sphere by sphere from the innermost; node data ``position`` (R·V, 3) and ``radius``
        (R·V,) as float32, ``sphere`` (R·V,) as int64.
        Edges ``intra``: the face edges within each sphere, both directions.
        Edges ``radial``: between co-radial vertices of different spheres; edge data ``offset`` = source sphere
        - target sphere with 1 ≤ abs(offset) ≤ K // 2.
        Neither has self-loops: what a vertex takes from itself is the layer's own term in both convolutions.

    Raises
    ------
    ValueError
        If `level` is negative, `num_spheres` less than 1 or `kernel_size` not odd.
    ImportError
        If dgl is not installed.

    Examples
    --------
    >>> graph = concentric_heterograph(level=2, num_spheres=4)
    >>> graph.num_nodes("vertex"), graph.num_edges("intra"), graph.num_edges("radial")
    (648, 3840, 972)
    """
    dgl = require_dgl()
    check_grid_arguments(level, num_spheres, kernel_size)
    vertices = icosphere(level).vertices
    source, target, offset = (torch.from_numpy(table) for table in radial_edges(level, num_spheres, kernel_size))
    edges = {
        (NODE, INTRA, NODE): tuple(torch.from_numpy(table) for table in intra_edges(level, num_spheres)),
        (NODE, RADIAL, NODE): (source, target),
    }
    graph = dgl.heterograph(edges, num_nodes_dict={NODE: num_spheres * len(vertices)})
    sphere = np.repeat(np.arange(num_spheres), len(vertices))
    radius = (sphere + 1) / num_spheres
    position = radius[:, None] * np.tile(vertices, (num_spheres, 1))
    graph.nodes[NODE].data["position"] = torch.from_numpy(position).float()
    graph.nodes[NODE].data["radius"] = torch.from_numpy(radius).float()
    graph.nodes[NODE].data["sphere"] = torch.from_numpy(sphere)
    graph.edges[RADIAL].data["offset"] = offset
    return graph
