"""The icosahedral grid (Sec. 3.1, Fig. 3a): an icosahedron whose faces are split in four, level by level."""

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import NODES, check
from csgnn_dgl.errors import check_counts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

GOLDEN_RATIO = (1 + np.sqrt(5)) / 2


@dataclass(frozen=True, eq=False)
class Icosphere:
    """The unit sphere sampled by a subdivided icosahedron; get one from :func:`icosphere`.

    Everything but the positions is integer arithmetic, so two icospheres of a level are identical on every
    machine. The arrays are read-only, because they are shared.

    Attributes
    ----------
    level
        Number of subdivisions l.
    vertices
        (V, 3) positions of norm one, V = 10·4^l + 2. The first V(l - 1) are those of the coarser level, and vertex
        V(l - 1) + e is the normalised midpoint of the coarser level's edge e.
    faces
        (F, 3) vertex indices, F = 20·4^l, counter-clockwise seen from outside. Face f of the coarser level with
        the corners a, b, c became the faces 4f (at a), 4f + 1 (at b), 4f + 2 (at c) and 4f + 3 (centre).
    edges
        (E, 2) vertex indices i < j in ascending order, E = 30·4^l.
    """

    level: int
    vertices: FloatArray
    faces: IntArray
    edges: IntArray

    @property
    def num_vertices(self) -> int:
        """Number of vertices V = 10·4^l + 2."""
        return len(self.vertices)

    @cached_property
    def neighbours(self) -> IntArray:
        """(V, 6) neighbours of each vertex, counter-clockwise seen from outside, beginning with the smallest index.

        The twelve vertices of the icosahedron have five neighbours; their last entry is -1.
        """
        # A half-edge u -> v of face (u, v, w) is followed, turning counter-clockwise about u, by u -> w.
        source = self.faces.reshape(-1)
        target = np.roll(self.faces, -1, axis=1).reshape(-1)
        following = np.roll(self.faces, -2, axis=1).reshape(-1)
        keys = source * self.num_vertices + target
        order = np.argsort(keys)
        successor = np.searchsorted(keys[order], (source * self.num_vertices + following)[order])
        source, target = source[order], target[order]

        first = np.searchsorted(source, np.arange(self.num_vertices))
        ring = np.full((self.num_vertices, 6), -1, dtype=np.int64)
        current = first
        for position in range(6):
            still_open = (current != first) | (position == 0)
            ring[still_open, position] = target[current[still_open]]
            current = successor[current]
        return _read_only(ring)

    @property
    def valences(self) -> IntArray:
        """(V,) number of neighbours of each vertex, 5 or 6."""
        return np.asarray((self.neighbours >= 0).sum(axis=1), dtype=np.int64)


@cache
def icosphere(level: int) -> Icosphere:
    """Return the icosphere with `level` subdivisions; the same object at every call.

    Parameters
    ----------
    level
        Number of subdivisions l ≥ 0: 12, 42, 162, 642, 2562, 10242, ... vertices.

    Returns
    -------
    Icosphere
        Vertices, faces and edges.

    Raises
    ------
    ValueError
        If `level` is not a non-negative integer.

    Examples
    --------
    >>> icosphere(4).vertices.shape
    (2562, 3)
    """
    check_counts(0, level=level)
    check("level", f"{level} has {{}} vertices", 10 * 4.0 ** min(level, 500) + 2, NODES)
    if level == 0:
        return _icosahedron()
    return _subdivide(icosphere(int(level) - 1))


def level_of(num_vertices: int) -> int:
    """Return the level whose icosphere has this number of vertices.

    Parameters
    ----------
    num_vertices
        V.

    Returns
    -------
    int
        The level l with V = 10·4^l + 2.

    Raises
    ------
    ValueError
        If there is none.
    """
    level = 0
    while 10 * 4**level + 2 < num_vertices:
        level += 1
    if 10 * 4**level + 2 != num_vertices:
        raise ValueError(f"{num_vertices} is no icosphere's number of vertices (10·4^l + 2)")
    return level


def midpoint_indices(sphere: Icosphere, pairs: IntArray) -> IntArray:
    """Return the vertex of the next finer level that halves each edge.

    Parameters
    ----------
    sphere
        The coarser icosphere.
    pairs
        (..., 2) edges as vertex indices, in either order.

    Returns
    -------
    numpy.ndarray
        (...) vertex indices V(l) + e on level l + 1, where e is the edge's position in ``sphere.edges``.
    """
    count = sphere.num_vertices
    keys = sphere.edges[:, 0] * count + sphere.edges[:, 1]
    wanted = pairs.min(axis=-1) * count + pairs.max(axis=-1)
    return np.asarray(count + np.searchsorted(keys, wanted), dtype=np.int64)


def _icosahedron() -> Icosphere:
    corners = []
    for one in (-1.0, 1.0):
        for golden in (-GOLDEN_RATIO, GOLDEN_RATIO):
            corners += [(0.0, one, golden), (one, golden, 0.0), (golden, 0.0, one)]
    vertices = np.array(corners)
    # Adjacent corners of this icosahedron are at distance 2, all others at 2·1.618 or more.
    distances = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
    adjacent = (distances > 1) & (distances < 3)
    faces = []
    for a, b, c in combinations(range(12), 3):
        if adjacent[a, b] and adjacent[b, c] and adjacent[a, c]:
            outward = np.linalg.det(vertices[[a, b, c]]) > 0
            faces.append((a, b, c) if outward else (a, c, b))
    return _make(0, vertices, np.array(faces, dtype=np.int64))


def _subdivide(sphere: Icosphere) -> Icosphere:
    midpoints = sphere.vertices[sphere.edges[:, 0]] + sphere.vertices[sphere.edges[:, 1]]
    a, b, c = sphere.faces.T
    ab, bc, ca = (midpoint_indices(sphere, np.stack(pair, axis=-1)) for pair in ((a, b), (b, c), (c, a)))
    children = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (bc, ca, ab)]
    faces = np.stack([np.stack(child, axis=-1) for child in children], axis=1).reshape(-1, 3)
    return _make(sphere.level + 1, np.concatenate([sphere.vertices, midpoints]), faces, kept=sphere.num_vertices)


def _make(level: int, positions: FloatArray, faces: IntArray, kept: int = 0) -> Icosphere:
    vertices = positions.copy()
    vertices[kept:] /= np.linalg.norm(vertices[kept:], axis=1, keepdims=True)
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(directed[directed[:, 0] < directed[:, 1]], axis=0)
    return Icosphere(level, _read_only(vertices), _read_only(faces), _read_only(edges))


def _read_only(array: NDArray) -> NDArray:
    array.setflags(write=False)
    return array
