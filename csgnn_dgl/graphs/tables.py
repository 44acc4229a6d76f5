"""Edge lists of the concentric grid as NumPy arrays: the one source of the DGL graphs and of the fast tables.

Nodes are counted sphere by sphere: vertex u of sphere i is node i·V + u.
"""

import numpy as np

from csgnn_dgl.bounds import NODES, check
from csgnn_dgl.errors import check_counts
from csgnn_dgl.geometry.icosphere import IntArray, icosphere


def intra_edges(level: int, num_spheres: int) -> tuple[IntArray, IntArray]:
    """Return sources and targets of the face edges within each sphere, both directions, ordered by target."""
    neighbours = icosphere(level).neighbours
    target, position = np.nonzero(neighbours >= 0)
    source = neighbours[target, position]
    return _on_every_sphere(source, len(neighbours), num_spheres), _on_every_sphere(
        target, len(neighbours), num_spheres
    )


def radial_edges(level: int, num_spheres: int, kernel_size: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return sources, targets and offsets of the co-radial edges between different spheres.

    The offset of an edge is its source's sphere minus its target's sphere; it is never 0 and at most
    kernel_size // 2 in magnitude. Edges are ordered by offset, then by target.
    """
    num_vertices = icosphere(level).num_vertices
    reach = min(kernel_size // 2, num_spheres - 1)
    offsets = [offset for offset in range(-reach, reach + 1) if offset != 0]
    nodes = np.arange(num_spheres * num_vertices).reshape(num_spheres, num_vertices)
    empty = np.empty(0, dtype=np.int64)
    sources = [nodes[max(0, offset) : num_spheres + min(0, offset)].reshape(-1) for offset in offsets]
    targets = [nodes[max(0, -offset) : num_spheres + min(0, -offset)].reshape(-1) for offset in offsets]
    repeated = [np.full(len(part), offset) for offset, part in zip(offsets, sources, strict=True)]
    return (
        np.concatenate([empty, *sources]),
        np.concatenate([empty, *targets]),
        np.concatenate([empty, *repeated]),
    )


def pooling_edges(level: int, num_spheres: int) -> tuple[IntArray, IntArray]:
    """Return fine sources and coarse targets of the pooling neighbourhoods (A.5), ordered by target.

    Coarse vertex u reads the fine vertex u and its five or six neighbours on the finer sphere.
    """
    num_coarse = icosphere(level - 1).num_vertices
    num_fine = icosphere(level).num_vertices
    members = np.column_stack([np.arange(num_coarse), icosphere(level).neighbours[:num_coarse]])
    target, position = np.nonzero(members >= 0)
    source = members[target, position]
    return (
        _on_every_sphere(source, num_fine, num_spheres),
        _on_every_sphere(target, num_coarse, num_spheres),
    )


def check_grid_arguments(level: int, num_spheres: int, kernel_size: int = 1, coarsest: int = 0) -> None:
    """Raise ValueError unless the arguments describe a concentric grid with levels down to `coarsest`."""
    check_counts(coarsest, level=level)
    check_counts(num_spheres=num_spheres)
    check("num_spheres and level", "they make {} vertices", num_spheres * (10 * 4.0 ** min(level, 500) + 2), NODES)
    check_kernel_size(kernel_size)


def check_kernel_size(kernel_size: int) -> None:
    """Raise ValueError unless a radial kernel can have this size."""
    if not isinstance(kernel_size, int | np.integer) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be an odd integer of at least 1, not {kernel_size!r}")


def _on_every_sphere(nodes: IntArray, per_sphere: int, num_spheres: int) -> IntArray:
    shifts = per_sphere * np.arange(num_spheres, dtype=np.int64)
    return np.asarray((nodes[None] + shifts[:, None]).reshape(-1), dtype=np.int64)
