"""Concentric heterographs as networkx graphs and back, for drawing and for graph algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL

if TYPE_CHECKING:
    import dgl
    import networkx


def to_networkx(graph: dgl.DGLGraph) -> networkx.MultiDiGraph:
    """Return a concentric heterograph as a networkx graph.

    Parameters
    ----------
    graph
        As made by :func:`csgnn_dgl.concentric_heterograph`.

    Returns
    -------
    networkx.MultiDiGraph
        Nodes 0 ... R·V - 1 with the attributes ``position`` (a tuple), ``radius`` and ``sphere``; edges with the key
        ``"intra"``, or the key ``"radial"`` and the attribute ``offset``.
    """
    import networkx

    result = networkx.MultiDiGraph()
    data = graph.nodes[NODE].data
    rows = zip(data["position"].tolist(), data["radius"].tolist(), data["sphere"].tolist(), strict=True)
    for node, (position, radius, sphere) in enumerate(rows):
        result.add_node(node, position=tuple(position), radius=radius, sphere=sphere)
    source, target = graph.edges(etype=INTRA)
    result.add_edges_from((s, t, INTRA) for s, t in zip(source.tolist(), target.tolist(), strict=True))
    source, target = graph.edges(etype=RADIAL)
    offsets = graph.edges[RADIAL].data["offset"]
    for s, t, offset in zip(source.tolist(), target.tolist(), offsets.tolist(), strict=True):
        result.add_edge(s, t, RADIAL, offset=offset)
    return result


def from_networkx(graph: networkx.MultiDiGraph) -> dgl.DGLGraph:
    """Return the DGL heterograph of a networkx graph with the attributes that :func:`to_networkx` writes.

    Edges come back ordered by target, then source.
    """
    dgl = require_dgl()
    edges: dict[str, list[tuple[int, int, int]]] = {INTRA: [], RADIAL: []}
    for source, target, key, offset in graph.edges(keys=True, data="offset", default=0):
        edges[key].append((target, source, offset))
    tables = {key: np.array(sorted(rows), dtype=np.int64).reshape(-1, 3) for key, rows in edges.items()}
    result = dgl.heterograph(
        {
            (NODE, key, NODE): (torch.from_numpy(table[:, 1].copy()), torch.from_numpy(table[:, 0].copy()))
            for key, table in tables.items()
        },
        num_nodes_dict={NODE: graph.number_of_nodes()},
    )
    for name, dtype in (("position", torch.float32), ("radius", torch.float32), ("sphere", torch.int64)):
        values = [graph.nodes[node][name] for node in range(graph.number_of_nodes())]
        result.nodes[NODE].data[name] = torch.tensor(values, dtype=dtype)
    result.edges[RADIAL].data["offset"] = torch.from_numpy(tables[RADIAL][:, 2].copy())
    return result
