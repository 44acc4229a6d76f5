"""Polygons of any size as triangles."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csgnn_dgl.bounds import CORNERS, check


def triangulated(vertices: NDArray[np.float64], corners: ArrayLike, sizes: ArrayLike) -> NDArray[np.int64]:
    """Cut polygons into triangles that cover them and nothing else.

    Convex polygons become fans; the others, projected along their mean normal, are cut within their outline. Polygons
    of one or two corners have no area and are left out.

    Parameters
    ----------
    vertices
        (V, 3) coordinates.
    corners
        (C,) places of the corners in `vertices`, polygon after polygon, each in its order around the outline.
    sizes
        (P,) corners of each polygon; their sum is C.

    Returns
    -------
    numpy.ndarray
        (F, 3) int64 triangles.

    Raises
    ------
    ValueError
        If a corner is no vertex.
    """
    try:
        corners, sizes = np.asarray(corners, dtype=np.int64), np.asarray(sizes, dtype=np.int64)
    except OverflowError:
        raise ValueError(f"a face names a vertex beyond 2^63, and there are {len(vertices)}") from None
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(vertices):
        wrong = corners[(corners < 0) | (corners >= len(vertices))][0]
        raise ValueError(f"a face names vertex {wrong}, counted from 0, and there are {len(vertices)}")
    starts = np.cumsum(sizes) - sizes
    parts, places = [np.empty((0, 3), dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for size in np.unique(sizes[sizes > 2]):
        chosen = np.flatnonzero(sizes == size)
        polygons = corners[starts[chosen, None] + np.arange(size)]
        convex = _are_convex(vertices[polygons]) if size > 3 else np.ones(len(polygons), dtype=bool)
        fans = np.stack(
            [np.repeat(polygons[convex, :1], size - 2, 1), polygons[convex, 1:-1], polygons[convex, 2:]], -1
        )
        parts.append(fans.reshape(-1, 3))
        places.append(np.repeat(chosen[convex], size - 2))
        if not convex.all():
            check("a face", "it has {} corners", float(size), CORNERS)
        for place, polygon in zip(chosen[~convex], polygons[~convex], strict=True):
            parts.append(polygon[_cut(vertices[polygon])])
            places.append(np.full(len(parts[-1]), place))
    return np.concatenate(parts)[np.argsort(np.concatenate(places), kind="stable")]


def _normals(outlines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return twice the vector areas (P, 3) of polygons (P, n, 3)."""
    centred = outlines - outlines[:, :1]
    return np.cross(centred, np.roll(centred, -1, axis=1)).sum(axis=1)


def _are_convex(outlines: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which polygons (P, n, 3) turn the same way at all corners, and once around."""
    with np.errstate(all="ignore"):  # infinite coordinates are refused later, by name
        before = outlines - np.roll(outlines, 1, axis=1)
        after = np.roll(outlines, -1, axis=1) - outlines
        normals = _normals(outlines)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = normals / np.where(length > 0, length, 1)
        turn = (np.cross(before, after) * normals[:, None]).sum(axis=-1)
        angles = np.arctan2(turn, (before * after).sum(axis=-1)).sum(axis=1)
        flat = length[:, 0] == 0
        return flat | ((turn >= -1e-9 * length).all(axis=1) & (np.abs(angles - 2 * np.pi) < 1))


def _cut(outline: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut one polygon (n, 3) within its outline: (n - 2, 3) corners."""
    import mapbox_earcut

    if not np.isfinite(outline).all():
        return np.stack(
            [np.zeros(len(outline) - 2), np.arange(1, len(outline) - 1), np.arange(2, len(outline))], 1
        ).astype(np.int64)
    normal = _normals(outline[None])[0]
    axis = int(np.argmax(np.abs(normal)))  # along which the polygon is seen largest
    flat = np.ascontiguousarray(np.delete(outline - outline.mean(axis=0), axis, axis=1))
    flat /= np.abs(flat).max()
    found = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], dtype=np.uint32))
    triangles = found.astype(np.int64).reshape(-1, 3)
    edges = flat[triangles[:, 1:]] - flat[triangles[:, :1]]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    sign = -1 if axis == 1 else 1  # the two axes left are in the order z, x reversed
    turned = area * normal[axis] * sign < 0
    triangles[turned] = triangles[turned, ::-1]
    return triangles
