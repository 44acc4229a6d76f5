"""OFF files, as of ModelNet."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.data.clouds.endings import check_end
from csgnn_dgl.data.clouds.polygons import triangulated
from csgnn_dgl.errors import InputError, reason

HEADER = re.compile(r"(?P<kind>(?:ST|C|N(?=[A-Z]))*(?P<other>4n?|n)?OFF|off)(?=[\s\d]|\Z)")


class Row(NamedTuple):
    """The words of a line that is neither blank nor a comment, and its number in the file."""

    number: int
    words: list[str]


def read_off(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read vertices (V, 3) and triangles (F, 3) of an OFF file.

    The header may have the counts on its line, without a blank even (``OFF490 518 0``), or be missing. Polygons of any
    size are cut into triangles. Normals, texture coordinates and colours of vertices (NOFF, STOFF, COFF) and of faces
    are passed over.

    Raises
    ------
    InputError
        If the file is broken, incomplete or binary, or has other lines than it counts.
    """
    content = read_bytes(path)
    if b"\0" in content or re.match(rb"\s*\w*OFF\s+BINARY", content):
        raise InputError(f"{path}: the file is binary OFF, or UTF-16; export it as ASCII.")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")  # of which only comments may be no ASCII
    lines = [line.partition("#")[0] for line in re.split(r"\r\n|\r|\n", text)]
    first = next((place for place, line in enumerate(lines) if line.strip()), 0)
    head = HEADER.match(lines[first].lstrip())
    if head:
        lines[first] = lines[first].lstrip()[head.end() :]
        if head["other"]:
            raise InputError(f"{path}: {head['kind']} has vertices of other than three coordinates; export it as OFF.")
    rows = [Row(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    try:
        found = _parse(rows, plain=not head or head["kind"] in ("OFF", "off"))
    except ValueError as error:
        raise InputError(f"{path}: not a complete OFF file ({reason(error)}); export it again.") from None
    check_end(path, content, tell=False)
    return found


def _parse(rows: list[Row], plain: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    counts = rows[0].words if rows else []
    if len(counts) < 2 or not all(word.isdigit() for word in counts[:2]):
        shown = " ".join(counts)[:60]
        raise ValueError(f"the counts of vertices and faces are wanted where {shown!r} stands")
    num_vertices, num_faces = int(counts[0]), int(counts[1])
    total = num_vertices + num_faces
    rows = [*([Row(rows[0].number, counts[3:])] if len(counts) > 3 else []), *rows[1:]]
    if plain and (len(rows) < total or len(counts) > 3):
        rows = _broken_elsewhere(rows, num_vertices, num_faces)
    if len(rows) < total:
        raise ValueError(
            f"it ends after {min(len(rows), num_vertices)} of {num_vertices} vertices and "
            f"{max(len(rows) - num_vertices, 0)} of {num_faces} faces"
        )
    if len(rows) > total and rows[total].words != ["\x1a"]:
        raise ValueError(
            f"it counts {num_vertices} vertices and {num_faces} faces, and line {rows[total].number} is one more"
        )
    for row in rows[:num_vertices]:
        if len(row.words) < 3 or len(row.words) != len(rows[0].words):
            raise ValueError(f"line {row.number} reads {' '.join(row.words)[:60]!r} where a vertex is wanted")
    vertices = np.array([row.words[:3] for row in rows[:num_vertices]], dtype=np.float64).reshape(-1, 3)
    corners: list[int] = []
    sizes: list[int] = []
    for row in rows[num_vertices:total]:
        size = int(row.words[0]) if row.words[0].isdigit() else 0
        if size < 1 or len(row.words) <= size:
            raise ValueError(f"line {row.number} reads {' '.join(row.words)[:60]!r} where a face is wanted")
        own = [int(word) if word.isdigit() else -1 for word in row.words[1 : size + 1]]
        if not 0 <= min(own) <= max(own) < num_vertices:
            shown = next(word for word, index in zip(row.words[1:], own, strict=False) if not 0 <= index < num_vertices)
            raise ValueError(
                f"the face in line {row.number} names vertex {shown}, counted from 0, and there are {num_vertices}"
            )
        corners.extend(own)
        sizes.append(size)
    return vertices, triangulated(vertices, corners, sizes)


def _broken_elsewhere(rows: list[Row], num_vertices: int, num_faces: int) -> list[Row]:
    """Return vertices and faces of a file whose lines are broken elsewhere; it has no colours."""
    words = [(word, row.number) for row in rows for word in row.words]
    found: list[Row] = []
    place = 0
    while place < len(words):
        size = 3
        if len(found) >= num_vertices:
            head = words[place][0]
            size = int(head) + 1 if head.isdigit() and len(found) < num_vertices + num_faces else len(words)
        own = words[place : place + size]
        if len(own) < size and len(found) < num_vertices + num_faces:
            break
        found.append(Row(own[0][1], [word for word, _ in own]))
        place += size
    return found


READERS = {".off": read_off}
