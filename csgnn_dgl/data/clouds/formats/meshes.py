"""Mesh files: OFF, OBJ, PLY and STL, read with trimesh."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError, reason


def read_mesh(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Read an OFF, OBJ, PLY or STL file: vertices (V, 3), and triangles (F, 3) as indices into them.

    A PLY file without faces is a point cloud, with None for the triangles. Nothing but the file itself is read: no
    materials, no textures. The header of some ModelNet files, with the counts on the first line (``OFF490 518 0``), is
    understood.

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
        kind = suffix[1:].upper()
        raise InputError(f"{path}: not a complete {kind} file ({reason(error)}); export it again.") from None
    if len(faces) > 0:
        return vertices, faces
    if suffix == ".ply":
        return vertices, None
    raise InputError(
        f"{path}: the mesh has no faces, so there is no surface to sample; export it with faces, or give its "
        f"points as PLY, XYZ, NPY or CSV."
    )


def _load(content: bytes, file_type: str) -> Any:
    """Let trimesh parse a file in memory; several objects in one file become one mesh."""
    options: dict[str, Any] = {"skip_materials": True} if file_type == "obj" else {}
    loaded = trimesh.load(io.BytesIO(content), file_type=file_type, process=False, **options)
    if not isinstance(loaded, trimesh.Scene):
        return loaded
    meshes = [part for part in loaded.dump() if isinstance(part, trimesh.Trimesh)]
    return trimesh.util.concatenate(meshes) if meshes else trimesh.PointCloud(np.zeros((0, 3)))


READERS = dict.fromkeys((".off", ".obj", ".ply", ".stl"), read_mesh)
