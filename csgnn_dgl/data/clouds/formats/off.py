"""OFF files, as of ModelNet."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.data.clouds.endings import check_end
from csgnn_dgl.data.clouds.polygons import triangulated
from csgnn_dgl.errors import InputError, reason

HEADER = re.compile(r"(?P<kind>(ST)?C?N?(?P<four>4?)(?P<any>n?)OFF)(?=[\s\d]|\Z)")


def read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read vertices (V, 3) and triangles (F, 3) of an OFF file.

    The header may have the counts on its line, without a blank even (``OFF490 518 0``), or be missing. Polygons of any
    size are cut into triangles. Normals, texture coordinates and colours of vertices (NOFF, STOFF, COFF) and of faces
    are passed over.

    Raises
    ------
    InputError
        If the file is broken, incomplete or binary.
    """
    try:
        content = read_bytes(path)
        lines = [line.partition("#")[0] for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise InputError(f"{path}: the file is binary, not OFF text; export it as ASCII.") from None
    text = "\n".join(line for line in lines if line.strip()).lstrip()
    head = HEADER.match(text)
    if head:
        text = text[head.end() :].lstrip()
        if head["four"] or head["any"]:
            raise InputError(f"{path}: {head['kind']} has vertices of other than three coordinates; export it as OFF.")
        if text.startswith("BINARY"):
            raise InputError(f"{path}: the file is binary OFF; export it as ASCII.")
    try:
        found = _parse(text)
    except ValueError as error:
        raise InputError(f"{path}: not a complete OFF file ({reason(error)}); export it again.") from None
    check_end(path, content, tell=False)
    return found


def _parse(text: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    counts, _, rest = text.partition("\n")
    words = counts.split()
    if len(words) < 2 or not all(word.isdigit() for word in words[:2]):
        shown = counts[:60]
        raise ValueError(f"the counts of vertices and faces are wanted where {shown!r} stands")
    num_vertices, num_faces = int(words[0]), int(words[1])
    rows = [line.split() for line in rest.split("\n")] if rest else []
    if len(rows) < num_vertices + num_faces:
        rows = _rows_of_words(rest.split(), num_vertices, num_faces)
    if len(rows) < num_vertices + num_faces:
        raise ValueError(
            f"it ends after {min(len(rows), num_vertices)} of {num_vertices} vertices and "
            f"{max(len(rows) - num_vertices, 0)} of {num_faces} faces"
        )
    for row in rows[:num_vertices]:
        if len(row) < 3:
            raise ValueError(f"a vertex reads {' '.join(row)[:60]!r}")
    vertices = np.array([row[:3] for row in rows[:num_vertices]], dtype=np.float64).reshape(-1, 3)
    corners: list[int] = []
    sizes: list[int] = []
    for row in rows[num_vertices : num_vertices + num_faces]:
        size = int(row[0])
        if size < 0 or len(row) <= size:
            raise ValueError(f"a face reads {' '.join(row)[:60]!r}")
        corners.extend(map(int, row[1 : size + 1]))
        sizes.append(size)
    return vertices, triangulated(vertices, corners, sizes)


def _rows_of_words(words: list[str], num_vertices: int, num_faces: int) -> list[list[str]]:
    """Return vertices and faces of a file whose lines are broken elsewhere; it has no colours."""
    rows = [words[place : place + 3] for place in range(0, min(3 * num_vertices, len(words) // 3 * 3), 3)]
    place = 3 * num_vertices
    while len(rows) < num_vertices + num_faces and place < len(words):
        size = int(words[place])
        if size < 0 or place + size >= len(words):
            break
        rows.append(words[place : place + size + 1])
        place += size + 1
    return rows


READERS = {".off": read_off}
