"""Rotations: the 60 that map the icosahedron onto itself, and random ones."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Literal

import numpy as np

from csgnn_dgl.geometry.icosphere import GOLDEN_RATIO, FloatArray, IntArray, icosphere, midpoint_indices

RotationMode = Literal["none", "z", "SO3"]


@lru_cache(maxsize=1)
def icosahedral_rotations() -> FloatArray:
    """Return the icosahedral rotation group (A.1) as matrices.

    Returns
    -------
    numpy.ndarray
        (60, 3, 3) proper rotations, the identity first. Their entries are the nearest float64 numbers to
        0, ±1/2, ±1, ±φ/2 and ±1/(2φ) with the golden ratio φ.
    """
    sphere = icosphere(0)
    images = sphere.vertices[_face_images()]
    base = sphere.vertices[sphere.faces[0]]
    # Rows are corners: image = base @ R^T.
    rotations = np.swapaxes(np.linalg.solve(base[None], images), -1, -2)
    magnitudes = np.array([0, 1 / (2 * GOLDEN_RATIO), 0.5, GOLDEN_RATIO / 2, 1])
    exact = np.concatenate([-magnitudes[:0:-1], magnitudes])
    rotations = exact[np.abs(rotations[..., None] - exact).argmin(axis=-1)]
    rotations.setflags(write=False)
    return rotations


@cache
def vertex_permutations(level: int) -> IntArray:
    """Return how the 60 rotations permute an icosphere's vertices.

    Parameters
    ----------
    level
        Level of the icosphere.

    Returns
    -------
    numpy.ndarray
        (60, V) integers: ``P[g, j]`` is the index of the vertex R_g v_j. Found by following faces and edges, not by
        comparing positions. A feature map h that is rotated by R_g becomes h' with ``h'[P[g, j]] = h[j]``.
    """
    sphere = icosphere(level)
    if level == 0:
        permutations = np.empty((60, 12), dtype=np.int64)
        for g, image in enumerate(_face_images()):
            permutations[g] = _follow(sphere.faces, sphere.faces[0], image)
    else:
        coarse = vertex_permutations(level - 1)
        coarser_sphere = icosphere(level - 1)
        midpoints = midpoint_indices(coarser_sphere, coarse[:, coarser_sphere.edges])
        permutations = np.concatenate([coarse, midpoints], axis=1)
    permutations.setflags(write=False)
    return permutations


def random_rotations(
    count: int, rng: np.random.Generator | Sequence[np.random.Generator], mode: RotationMode = "SO3"
) -> FloatArray:
    """Draw random rotations.

    Parameters
    ----------
    count
        How many.
    rng
        Source of randomness, or one source for each rotation. ``"SO3"`` takes four normal numbers per rotation, ``"z"``
        one uniform number.
    mode
        ``"SO3"``: uniform on all rotations (Haar measure), as normalised Gaussian quaternions. ``"z"``: uniform
        about the vertical axis. ``"none"``: identities.

    Returns
    -------
    numpy.ndarray
        (count, 3, 3) rotation matrices.

    Raises
    ------
    ValueError
        If `mode` is none of the three, or the number of sources is neither one nor `count`.
    """
    if mode == "SO3":
        quaternions = _draw(rng, lambda source, *shape: source.normal(size=(*shape, 4)), count)
        w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    elif mode == "z":
        half = np.pi * _draw(rng, lambda source, *shape: source.random(shape), count)
        w, x, y, z = np.cos(half), np.zeros(count), np.zeros(count), np.sin(half)
    elif mode == "none":
        return np.tile(np.eye(3), (count, 1, 1))
    else:
        raise ValueError(f"rotation mode must be 'none', 'z' or 'SO3', not {mode!r}")
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _draw(
    rng: np.random.Generator | Sequence[np.random.Generator], draw: Callable[..., FloatArray | float], count: int
) -> FloatArray:
    """Draw (count, ...) numbers from one source, or each row from its own."""
    if isinstance(rng, np.random.Generator):
        return np.asarray(draw(rng, count))
    if len(rng) != count:
        raise ValueError(f"{count} rotations need one source of randomness, or {count} of them, not {len(rng)}")
    return np.array([draw(source) for source in rng])


def _face_images() -> IntArray:
    """(60, 3): where each rotation takes the corners of face 0 (20 faces, 3 cyclic orders); the identity first."""
    faces = icosphere(0).faces
    return np.stack([np.roll(face, -shift) for face in faces for shift in range(3)])


def _follow(faces: IntArray, start: IntArray, image: IntArray) -> IntArray:
    """Extend the map start -> image of one face's corners to all vertices, from face to adjacent face."""
    apex = {}
    for a, b, c in faces:
        apex.update({(a, b): c, (b, c): a, (c, a): b})
    target = dict(zip(start, image, strict=True))
    a, b, c = start
    open_edges = [(b, a), (c, b), (a, c)]
    while open_edges:
        a, b = open_edges.pop()
        c = apex[a, b]
        if c not in target:
            target[c] = apex[target[a], target[b]]
            open_edges += [(c, b), (a, c)]
    return np.array([target[vertex] for vertex in range(len(target))], dtype=np.int64)


def rotations_about(axes: np.ndarray, angle: float) -> np.ndarray:
    """Make rotations by one angle about given axes, by Rodrigues' formula R = 1 + sin(t) K + (1 - cos(t)) K².

    Parameters
    ----------
    axes
        (S, 3) axes of any length but zero; K v is the cross product of the unit axis with v.
    angle
        The angle t, in radians.

    Returns
    -------
    numpy.ndarray
        (S, 3, 3) rotation matrices.
    """
    x, y, z = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T
    zero = np.zeros_like(x)
    cross = np.moveaxis(np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]), -1, 0)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
