"""What notebooks show of grids, levels and graphs: a table of nodes, edges, degrees, radii and memory."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import nn


def graph_rows(graph: Any) -> list[tuple[str, str]]:
    """Return what there is to say of a DGL graph as pairs of name and text.

    These are the nodes of each type, the edges of each type with their degrees at the target, the radii of vertices
    that have some, and the memory of node and edge data and of the edges as pairs of indices.
    """
    rows = [(f"nodes {kind}", f"{graph.num_nodes(kind):,}") for kind in graph.ntypes]
    size = 0
    for source, kind, target in graph.canonical_etypes:
        degrees = graph.in_degrees(etype=(source, kind, target))
        several = f", degrees {_range(degrees)}" if len(degrees) else ""
        rows.append((f"edges {kind}", f"{graph.num_edges((source, kind, target)):,}{several}"))
        size += 2 * graph.num_edges((source, kind, target)) * (8 if graph.idtype == torch.int64 else 4)
        size += _data_bytes(graph.edges[source, kind, target].data)
    for kind in graph.ntypes:
        data = graph.nodes[kind].data
        size += _data_bytes(data)
        if "radius" in data and len(data["radius"]):
            radii = data["radius"].unique()
            rows.append(("radii", f"{len(radii)}: {float(radii[0]):.3g} to {float(radii[-1]):.3g}"))
    return [*rows, ("memory", _bytes(size))]


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a small table for notebooks."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<b>{escape(title)}</b><table><tr>{head}</tr>{body}</table>"


def html_of(graph: Any, title: str = "heterograph") -> str:
    """Return a table of a DGL graph for notebooks: nodes, edges with their degrees, radii and memory.

    Parameters
    ----------
    graph
        Any DGL graph, such as that of :func:`csgnn_dgl.concentric_heterograph`.
    title
        What stands above the table.

    Returns
    -------
    str
        HTML, which ``IPython.display.HTML`` shows.
    """
    return html_table(title, ("", ""), graph_rows(graph))


def size_text(module: nn.Module) -> str:
    """Return the memory of a module's buffers as text."""
    return _bytes(sum(buffer.numel() * buffer.element_size() for buffer in module.buffers()))


def _data_bytes(data: Any) -> int:
    columns = [data[name] for name in data]
    return sum(column.numel() * column.element_size() for column in columns)


def _range(values: torch.Tensor) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
