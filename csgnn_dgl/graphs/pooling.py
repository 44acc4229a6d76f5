"""The neighbourhoods of pooling (A.5) as a bipartite DGL graph between two levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.geometry.icosphere import icosphere
from csgnn_dgl.graphs.tables import check_grid_arguments, pooling_edges

if TYPE_CHECKING:
    import dgl

FINE = "fine"
COARSE = "coarse"
POOL = "pool"


def pooling_graph(level: int, num_spheres: int) -> dgl.DGLGraph:
    """Build the bipartite graph ``fine -pool-> coarse`` from `level` to `level` - 1.

    Parameters
    ----------
    level
        The finer level l ≥ 1.
    num_spheres
        Number of spheres R; pooling stays within each.

    Returns
    -------
    dgl.DGLGraph
        R·V(l) nodes ``fine`` and R·V(l - 1) nodes ``coarse``, sphere by sphere; each coarse vertex has edges from
        the fine vertex with its index and from that vertex's 5 or 6 neighbours.

    Raises
    ------
    ValueError
        If `level` is less than 1 or `num_spheres` less than 1.
    ImportError
        If dgl is not installed.
    """
    dgl = require_dgl()
    check_grid_arguments(level, num_spheres, coarsest=1)
    source, target = (torch.from_numpy(table) for table in pooling_edges(level, num_spheres))
    return dgl.heterograph(
        {(FINE, POOL, COARSE): (source, target)},
        num_nodes_dict={
            FINE: num_spheres * icosphere(level).num_vertices,
            COARSE: num_spheres * icosphere(level - 1).num_vertices,
        },
    )
