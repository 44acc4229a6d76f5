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

    Raises
    ------
    ValueError
        If an edge of one type is there twice: networkx holds one of a key.
    """
    import networkx

    for edge_type in (INTRA, RADIAL):
        pairs = torch.stack(graph.edges(etype=edge_type), dim=1)
        if len(pairs.unique(dim=0)) < len(pairs):
            raise ValueError(f"an {edge_type!r} edge is there twice; make one of them with dgl.to_simple")
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

    Parameters
    ----------
    graph
        Nodes 0 to N - 1 with ``position``, ``radius`` and ``sphere``; the key of each edge is ``"intra"`` or
        ``"radial"``.

    Returns
    -------
    dgl.DGLGraph
        As of :func:`concentric_heterograph`.

    Raises
    ------
    ValueError
        If the nodes are not 0 ... N - 1 with those attributes, or an edge has another key.
    """
    dgl = require_dgl()
    if any(not {"position", "radius", "sphere"} <= graph.nodes.get(node, {}).keys() for node in range(len(graph))):
        raise ValueError(
            "the nodes must be 0 to N - 1, each with position, radius and sphere, as to_networkx makes them"
        )
    if other := {key for _, _, key in graph.edges(keys=True)} - {INTRA, RADIAL}:
        raise ValueError(f"an edge has the key {other.pop()!r}; give each edge the key {INTRA!r} or {RADIAL!r}")
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
