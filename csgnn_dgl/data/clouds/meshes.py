"""Mesh files: reading them with trimesh and sampling their surface."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError

MESH_SUFFIXES = (".off", ".obj", ".ply", ".stl")


def read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Read an OFF, OBJ, PLY or STL file.

    Nothing but the file itself is read: no materials, no textures. The header of some ModelNet files, with
    the counts on the first line (``OFF490 518 0``), is understood.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    vertices, faces
        Coordinates (vertices, 3), and triangles (faces, 3) as indices into them; ``None`` for a PLY file
        without faces, which is a point cloud.

    Raises
    ------
    InputError
        If the file is broken, or a mesh format other than PLY has no faces.
    """
    suffix = path.suffix.lower()
    try:
        content = path.read_bytes()
        if suffix == ".off":
            content = re.sub(rb"\AOFF(?=[ \t]*\d)", b"OFF\n", content)
        loaded = _load(content, suffix[1:])
        vertices = np.asarray(loaded.vertices, dtype=np.float64)
        faces = np.asarray(getattr(loaded, "faces", ()), dtype=np.int64).reshape(-1, 3)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices of shape {vertices.shape}")
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(vertices):
            raise ValueError("a face names a vertex that does not exist")
    except Exception as error:  # a reader of foreign formats fails in as many ways as there are broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a complete {suffix[1:].upper()} file ({reason}); export it again.") from None
    if len(faces) > 0:
        return vertices, faces
    if suffix == ".ply":
        return vertices, None
    raise InputError(
        f"{path}: the mesh has no faces, so there is no surface to sample; export it with faces, or give its "
        f"points as PLY, XYZ, NPY or CSV."
    )


def sample_mesh(
    path: Path,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    num_points: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw points uniformly by area from a mesh of finite vertices: (num_points, 3)."""
    scale = np.abs(vertices).max() or 1.0  # so that no area vanishes or overflows
    mesh = trimesh.Trimesh(vertices / scale, faces, process=False)
    if not mesh.area > 0.0:
        raise InputError(f"{path}: the mesh has no surface (its area is 0); repair or remove it.")
    points, _ = trimesh.sample.sample_surface(mesh, num_points, seed=rng)
    return np.asarray(points, dtype=np.float64) * scale


def _load(content: bytes, file_type: str) -> Any:
    """Let trimesh parse a file in memory; several objects in one file become one mesh."""
    options: dict[str, Any] = {"skip_materials": True} if file_type == "obj" else {}
    loaded = trimesh.load(io.BytesIO(content), file_type=file_type, process=False, **options)
    if not isinstance(loaded, trimesh.Scene):
        return loaded
    meshes = [part for part in loaded.dump() if isinstance(part, trimesh.Trimesh)]
    return trimesh.util.concatenate(meshes) if meshes else trimesh.PointCloud(np.zeros((0, 3)))
