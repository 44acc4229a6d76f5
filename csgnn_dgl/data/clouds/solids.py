"""Building blocks of the built-in shapes: small meshes that are moved, turned, stretched and put together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

SECTIONS = 20
"""Sides of everything round."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A triangle mesh, closed or not.

    Parameters
    ----------
    vertices
        Coordinates, (vertices, 3) float64.
    faces
        Triangles as indices into `vertices`, (faces, 3) int64.
    parts
        Name of the part that each triangle belongs to, (faces,); one name for all, or "" where it belongs to none.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    parts: NDArray[np.str_] | str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", np.broadcast_to(np.asarray(self.parts, dtype=str), len(self.faces)))

    def called(self, part: str) -> "Solid":
        """Return the solid as a part of this name, whatever its triangles belonged to."""
        return replace(self, parts=part)

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Solid":
        """Return the solid shifted by (x, y, z)."""
        return replace(self, vertices=self.vertices + np.array([x, y, z]))

    def stretched(self, x: float, y: float, z: float) -> "Solid":
        """Return the solid with each axis scaled by its factor."""
        return replace(self, vertices=self.vertices * np.array([x, y, z]))

    def turned(self, axis: str, degrees: float) -> "Solid":
        """Return the solid rotated about the axis ``"x"``, ``"y"`` or ``"z"`` through the origin."""
        angle = np.radians(degrees)
        cosine, sine = np.cos(angle), np.sin(angle)
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        vertices = self.vertices.copy()
        vertices[:, first] = cosine * self.vertices[:, first] - sine * self.vertices[:, second]
        vertices[:, second] = sine * self.vertices[:, first] + cosine * self.vertices[:, second]
        return replace(self, vertices=vertices)

    def mesh(self) -> trimesh.Trimesh:
        """Return the solid as a trimesh mesh."""
        return trimesh.Trimesh(self.vertices, self.faces, process=False)


def join(parts: Sequence[Solid]) -> Solid:
    """Put parts together; where they overlap both surfaces stay."""
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return Solid(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + offset for part, offset in zip(parts, offsets, strict=True)]),
        np.concatenate([np.asarray(part.parts) for part in parts]),
    )


def box(x: float, y: float, z: float) -> Solid:
    """Make a box of these edge lengths that stands on the origin: its bottom face is centred there."""
    return _unit_box().stretched(x, y, z)


def cylinder(radius: float, height: float, top_radius: float | None = None) -> Solid:
    """Make an upright cylinder, or the stump of a cone, that stands on the origin."""
    unit = _unit_cylinder()
    vertices = unit.vertices * np.array([radius, radius, height])
    if top_radius is not None:
        vertices[unit.vertices[:, 2] > 0.5, :2] *= top_radius / radius
    return Solid(vertices, unit.faces)


def ball(x: float, y: float, z: float) -> Solid:
    """Make an ellipsoid of these half axes about the origin."""
    return _unit_ball().stretched(x, y, z)


def rod(start: ArrayLike, end: ArrayLike, radius: float) -> Solid:
    """Make a round rod between two points."""
    first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    length = float(np.linalg.norm(last - first))
    frame = _frame_along((last - first) / length)
    vertices = (_unit_cylinder().vertices * np.array([radius, radius, length])) @ frame.T + first
    return Solid(vertices, _unit_cylinder().faces)


def turned_profile(radii: ArrayLike, heights: ArrayLike, parts: Sequence[str] | str = "") -> Solid:
    """Make the surface that a line through the points (radius, height) sweeps about the z axis.

    It is closed where the line starts and ends on the axis, and faces outward where the line goes up.

    Parameters
    ----------
    radii, heights
        The points, (points,) each.
    parts
        Name of the part that each piece of the line makes, (points - 1,), or one for all.
    """
    line = np.stack([np.asarray(radii, dtype=np.float64), np.asarray(heights, dtype=np.float64)], axis=1)
    angles = 2 * np.pi * np.arange(SECTIONS) / SECTIONS
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = np.empty((len(line), SECTIONS, 3))
    rings[..., :2] = line[:, None, :1] * circle
    rings[..., 2] = line[:, 1:]
    # a ring of radius 0 is one point: its first vertex stands for all, and the triangles that vanish are left out
    index = np.arange(len(line) * SECTIONS).reshape(len(line), SECTIONS)
    index[line[:, 0] == 0.0] = index[line[:, 0] == 0.0, :1]
    faces = index.ravel()[_tube_faces(len(line), SECTIONS)]
    whole = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    piece = np.tile(np.repeat(np.arange(len(line) - 1), SECTIONS), 2)
    names = np.broadcast_to(np.asarray(parts, dtype=str), len(line) - 1)
    return Solid(rings.reshape(-1, 3), faces[whole], names[piece[whole]])


def loft(lower: ArrayLike, upper: ArrayLike) -> Solid:
    """Make the solid between two quadrilaterals whose corners, (4, 3) each, go round in the same sense."""
    return Solid(np.concatenate([np.asarray(lower, float), np.asarray(upper, float)]), _LOFT_FACES)


def frustum(lower: tuple[float, float], upper: tuple[float, float], height: float, shift: float = 0.0) -> Solid:
    """Make the solid between a rectangle at the origin and one `height` above it, `shift` along y.

    Parameters
    ----------
    lower, upper
        Edge lengths (x, y) of the rectangles.
    height, shift
        Where the centre of the upper one is.
    """
    corners = np.array([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    return loft(corners * np.array([*lower, 1.0]), corners * np.array([*upper, 1.0]) + np.array([0.0, shift, height]))


def arch(width: float, height: float, thickness: float, degrees: float = 180.0) -> Solid:
    """Make a bent round rod in the x-z plane: an arc of an ellipse, from z = -height/2 to height/2.

    Parameters
    ----------
    width, height
        How far it bulges along x, and the distance of its ends at 180 degrees.
    thickness
        Radius of the rod.
    degrees
        Angle of the arc, centred on the x axis.
    """
    half = np.radians(degrees) / 2
    angles = np.linspace(-half, half, 13)
    ring = np.linspace(0.0, 2 * np.pi, 9)[:-1]
    out = np.stack([np.cos(angles), np.zeros_like(angles), np.sin(angles)], axis=1)
    across = np.array([0.0, 1.0, 0.0])
    centres = out * np.array([width, 0.0, height / 2])
    tube = np.cos(ring)[None, :, None] * out[:, None] + np.sin(ring)[None, :, None] * across
    vertices = (centres[:, None] + thickness * tube).reshape(-1, 3)
    return Solid(vertices, _tube_faces(len(angles), len(ring)))


def _tube_faces(length: int, around: int) -> NDArray[np.int64]:
    """Return the faces between `length` rings of `around` vertices."""
    step, side = np.meshgrid(np.arange(length - 1), np.arange(around), indexing="ij")
    here, beside = step * around + side, step * around + (side + 1) % around
    above, diagonal = here + around, beside + around
    lower = np.stack([here, beside, diagonal], axis=-1).reshape(-1, 3)
    upper = np.stack([here, diagonal, above], axis=-1).reshape(-1, 3)
    return np.concatenate([lower, upper])


def _frame_along(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation matrix whose third column is the unit vector `direction`."""
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(helper, direction)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(direction, first), direction], axis=1)


def _solid(mesh: trimesh.Trimesh) -> Solid:
    return Solid(np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64))


@lru_cache(maxsize=1)
def _unit_box() -> Solid:
    return _solid(trimesh.creation.box(extents=(1.0, 1.0, 1.0))).moved(z=0.5)


@lru_cache(maxsize=1)
def _unit_cylinder() -> Solid:
    return _solid(trimesh.creation.cylinder(radius=1.0, height=1.0, sections=SECTIONS)).moved(z=0.5)


@lru_cache(maxsize=1)
def _unit_ball() -> Solid:
    return _solid(trimesh.creation.icosphere(subdivisions=2))


_LOFT_FACES = np.array(
    [
        [0, 2, 1], [0, 3, 2],
        [4, 5, 6], [4, 6, 7],
        [0, 1, 5], [0, 5, 4],
        [1, 2, 6], [1, 6, 5],
        [2, 3, 7], [2, 7, 6],
        [3, 0, 4], [3, 4, 7],
    ]
)  # fmt: skip
