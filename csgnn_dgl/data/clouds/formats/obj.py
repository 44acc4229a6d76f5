"""Wavefront OBJ files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.data.clouds.endings import check_end
from csgnn_dgl.data.clouds.polygons import triangulated
from csgnn_dgl.errors import InputError


def read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read vertices (V, 3) and triangles (F, 3) of an OBJ file.

    Of all its lines, vertices and faces count. A face names vertices from 1, or backwards from the last one before it
    with negative numbers. Materials, textures and normals are passed over, nothing but the file itself is read.

    Raises
    ------
    InputError
        If a line is broken, or names a vertex that does not exist.
    """
    content = read_bytes(path)
    if b"\0" in content:
        raise InputError(f"{path}: the file is binary or UTF-16, not OBJ text; export it again as OBJ.")
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    vertices: list[tuple[float, float, float]] = []
    corners: list[int] = []
    sizes: list[int] = []
    beyond: tuple[int, int] | None = None  # the largest index and its line; vertices may follow their faces
    pending = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        line = pending + raw.partition("#")[0].rstrip()
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        pending = ""
        words = line.split()
        if not words or words[0] not in ("v", "f", "fo"):
            continue
        try:
            if words[0] == "v":
                vertices.append((float(words[1]), float(words[2]), float(words[3])))
                continue
            indices = [int(word.partition("/")[0]) for word in words[1:]]
        except (ValueError, IndexError):
            raise InputError(
                f"{path}: line {number} reads {_shown(line)}; a vertex is 'v x y z' and a face 'f 1 2 3'; "
                "export it again."
            ) from None
        for index in indices:
            if index == 0 or index < -len(vertices):
                raise InputError(
                    f"{path}: line {number} names vertex {index}, and there are {len(vertices)} before it; "
                    "export it again."
                )
            corners.append(index - 1 if index > 0 else len(vertices) + index)
            if beyond is None or index > beyond[0]:
                beyond = index, number
        sizes.append(len(indices))
    if beyond is not None and beyond[0] > len(vertices):
        raise InputError(
            f"{path}: line {beyond[1]} names vertex {beyond[0]}, and there are {len(vertices)}; export it again."
        )
    _check_last(path, content, len(sizes))
    points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    try:
        return points, triangulated(points, corners, sizes)
    except ValueError as error:
        raise InputError(f"{path}: not a complete OBJ file ({error}); export it again.") from None


def _check_last(path: Path, content: bytes, faces: int) -> None:
    """Refuse a last line that is not whole; OBJ files tell nowhere how many they have."""
    check_end(path, content)
    words = content.split(b"\n")[-1].split()
    if words and words[0] in (b"f", b"fo"):
        slashes = {word.count(b"/") for word in words[1:]}
        if len(words) < 4 or len(slashes) > 1 or words[-1].endswith(b"/"):
            raise InputError(f"{path}: the file ends within face {faces}; it was cut short, copy it again.")


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}...")


READERS = {".obj": read_obj}
