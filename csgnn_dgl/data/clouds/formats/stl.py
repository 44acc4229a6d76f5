"""STL files, binary and text."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

HEADER, ROW = 84, 50
"""Bytes before the first triangle of a binary file, the last four of which count them, and bytes of a triangle."""

SOLID = re.compile(r"\b((?:end)?solid)\b.*?(\bfacet\s+normal\b|\bendsolid\b|$)")
"""A statement with a name, and what comes after the name."""


def read_stl(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read vertices (3·F, 3), three for each of the triangles (F, 3), of an STL file.

    Normals and colours are passed over, as are bytes after the last triangle of a binary file. A text file may lack its
    ``endsolid``, or hold several solids.

    Raises
    ------
    InputError
        If the file is broken or incomplete.
    """
    content = read_bytes(path)
    stated = int.from_bytes(content[HEADER - 4 : HEADER], "little") if len(content) >= HEADER else 0
    # a binary file may begin with "solid" too, and has a zero byte in its count of triangles at the latest
    text = re.match(rb"\s*(\xef\xbb\xbf)?\s*solid", content, re.IGNORECASE) and b"\0" not in content.rstrip(b"\0")
    corners = _text(path, content) if text else _binary(path, content, stated)
    return corners.astype(np.float64), np.arange(len(corners), dtype=np.int64).reshape(-1, 3)


def _binary(path: Path, content: bytes, stated: int) -> NDArray[np.float32]:
    if len(content) < HEADER:
        raise InputError(f"{path}: not a complete STL file ({len(content)} bytes); export it again.")
    found = (len(content) - HEADER) // ROW
    if found < stated:
        raise InputError(
            f"{path}: not a complete STL file (it ends after {found} of {stated} triangles); copy it again."
        )
    if stated == 0:
        raise InputError(
            f"{path}: the header counts no triangles, and {len(content) - HEADER} bytes follow; export it again."
        )
    further = content[HEADER + ROW * stated :]
    if further.strip(b"\0"):
        note(path, f"the header counts {stated} triangles; {len(further)} bytes after them were passed over")
    rows = np.frombuffer(content, np.uint8, ROW * stated, HEADER).reshape(stated, ROW)
    return np.ascontiguousarray(rows[:, 12:48]).view("<f4").reshape(-1, 3)


def _text(path: Path, content: bytes) -> NDArray[np.float64]:
    vertices: list[list[float]] = []
    ended = False
    begun: int | None = None  # vertices before the facet that is being read
    text = re.sub("\r\n?", "\n", content.rstrip(b"\0").decode("latin-1"))
    for number, line in enumerate(text.split("\n"), start=1):
        # several statements may share a line; a name follows (end)solid, up to the first facet
        words = SOLID.sub(r"\1 \2", line.lower()).split()
        place = 0
        while place < len(words):
            word = words[place]
            place += 1
            if word in ("solid", "endsolid"):
                ended = word == "endsolid"
            if word in ("facet", "endfacet", "endsolid"):
                own = len(vertices) - (len(vertices) if begun is None else begun)
                if own != 3 and (word == "endfacet" or begun is not None):
                    raise InputError(
                        f"{path}: the facet that ends in line {number} has {own} vertices and not 3; export it again."
                    )
                begun = len(vertices) if word == "facet" else None
            elif word == "vertex":
                try:
                    vertices.append([float(cell) for cell in words[place : place + 3]])
                except ValueError:
                    vertices.append([])
                if len(vertices[-1]) < 3:
                    raise InputError(
                        f"{path}: line {number} reads {line.strip()[:60]!r} where 'vertex x y z' is wanted; the "
                        f"file is incomplete or broken, export it again."
                    )
                place += 3
    if not vertices:
        raise InputError(f"{path}: the solid has no facets; export it again.")
    if begun is not None:
        raise InputError(f"{path}: not a complete STL file (it ends within a facet); copy it again.")
    if not ended:
        note(path, "there is no endsolid, so that nothing tells whether the file is whole")
    return np.array(vertices, dtype=np.float64).reshape(-1, 3)


READERS = {".stl": read_stl}
