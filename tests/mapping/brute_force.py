"""The definition of the mappings, point by point in NumPy float64: the fast code is tested against it."""

from itertools import combinations

import numpy as np

from csgnn_dgl.geometry import icosphere


def containing_faces(direction: np.ndarray, level: int, tolerance: float) -> np.ndarray:
    """All faces that contain a unit vector: it is a·α + b·β + c·γ with no coefficient below zero."""
    sphere = icosphere(level)
    corners = sphere.vertices[sphere.faces]
    coefficients = np.linalg.solve(corners.swapaxes(1, 2), np.broadcast_to(direction, (len(corners), 3))[..., None])
    # A coefficient times the corner's height over the opposite edge's plane is the distance to that plane.
    a, b, c = corners.swapaxes(0, 1)
    volumes = np.linalg.det(corners)
    heights = np.stack([volumes / np.linalg.norm(np.cross(*pair), axis=1) for pair in ((b, c), (c, a), (a, b))], axis=1)
    return np.flatnonzero((coefficients[..., 0] * heights >= -tolerance).all(axis=1))


def diameter(level: int, inner: float, outer: float, faces: slice) -> float:
    """Largest distance within the cells over `faces` between two radii; radius 0 is the origin."""
    sphere = icosphere(level)
    corners = sphere.vertices[sphere.faces[faces]]
    inside = corners * inner if inner > 0 else np.zeros((len(corners), 1, 3))
    cells = np.concatenate([inside, corners * outer], axis=1)
    pairs = combinations(range(cells.shape[1]), 2)
    return max(float(np.linalg.norm(cells[:, i] - cells[:, j], axis=1).max()) for i, j in pairs)


def brute_force(
    kind: str,
    points: np.ndarray,
    level: int,
    num_spheres: int,
    channels: int,
    threshold: float,
    tolerance: float,
    carried: np.ndarray | None = None,
) -> np.ndarray:
    """Features (R, V, B, C) of clouds (B, N, 3): Eq. 1 over all points, cut off at the cells of each.

    With `carried` (B, N), the sums of kernel times what each point carries.
    """
    sphere = icosphere(level)
    fine_spheres = num_spheres * channels
    cells = fine_spheres if kind == "prism" else num_spheres
    # Sphere s has the radius s / R'; sphere 0, the origin, is dropped at the end.
    fine = np.zeros((fine_spheres + 1, sphere.num_vertices, len(points)))
    for sample, cloud in enumerate(points):
        for place, point in enumerate(cloud):
            load = 1.0 if carried is None else carried[sample, place]
            radius = np.linalg.norm(point)
            if radius <= tolerance:
                faces = np.arange(len(sphere.faces))
            else:
                faces = containing_faces(point / radius, level, tolerance)
            assert len(faces) in (1, 2, 5, 6, len(sphere.faces))
            cell = max(i for i in range(cells) if radius >= i / cells - tolerance)
            if kind == "prism":
                levels = [cell, cell + 1]
                size = diameter(level, cell / cells, (cell + 1) / cells, slice(None))
            else:
                levels = [cell * channels + c + 1 for c in range(channels)]
                size = diameter(level, cell / cells, (cell + 1) / cells, slice(1))
            gamma = -np.log(threshold) / size**2
            for face in faces:
                for vertex in sphere.faces[face]:
                    for s in levels:
                        distance = np.linalg.norm(point - s / fine_spheres * sphere.vertices[vertex])
                        fine[s, vertex, sample] += load * np.exp(-gamma * distance**2) / len(faces)
    grouped = fine[1:].reshape(num_spheres, channels, sphere.num_vertices, len(points))
    return grouped.transpose(0, 2, 3, 1)


def random_points(count: int, rng: np.random.Generator) -> np.ndarray:
    """Points uniform in the unit ball."""
    directions = rng.normal(size=(count, 3))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.random((count, 1)) ** (1 / 3)


def tie_points(level: int, fine_spheres: int, rng: np.random.Generator) -> np.ndarray:
    """Points on edges, vertices and spheres, at radius 1, at the centre, and on several of them at once."""
    sphere = icosphere(level)

    def pick(table: np.ndarray, count: int) -> np.ndarray:
        return table[rng.integers(len(table), size=count)]

    edges = pick(sphere.edges, 8)
    share = rng.uniform(0.1, 0.9, size=(8, 1))
    on_edges = sphere.vertices[edges[:, 0]] * share + sphere.vertices[edges[:, 1]] * (1 - share)
    on_edges /= np.linalg.norm(on_edges, axis=1, keepdims=True)
    on_vertices = np.concatenate([sphere.vertices[:3], pick(sphere.vertices, 5)])
    directions = np.concatenate([on_edges, on_vertices])
    anywhere = random_points(6, rng)
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    radii = rng.integers(1, fine_spheres + 1, size=(len(directions), 1)) / fine_spheres
    exact = np.array([[1], [1], [1 / fine_spheres], [0.5], [1 / fine_spheres], [1]])
    return np.concatenate(
        [
            directions * rng.uniform(0.05, 1, size=(len(directions), 1)),
            directions * radii,
            directions[::5],
            anywhere * exact,
            np.zeros((2, 3)),
        ]
    )
