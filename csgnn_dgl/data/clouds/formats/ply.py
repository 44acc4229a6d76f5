"""PLY files: text and binary, of either byte order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.data.clouds.endings import check_end
from csgnn_dgl.data.clouds.polygons import triangulated
from csgnn_dgl.errors import InputError, reason

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
INDICES = ("vertex_indices", "vertex_index")
SURFACES = ("face", "faces", "tristrips", "tristrip", "trifans", "trifan", "triangles", "polygons")
Lists = tuple[NDArray[Any], NDArray[np.int64]]
"""Lists of one property, one after another, and the length of each."""


@dataclass
class Property:
    """A property: its name, the type of its numbers, and of the count before them where it is a list."""

    name: str
    kind: str
    count: str = ""


@dataclass
class Element:
    """An element: its name, number of rows, and properties."""

    name: str
    rows: int
    properties: list[Property] = field(default_factory=list)


def read_ply(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    """Read vertices (V, 3) of a PLY file, and triangles (F, 3), or None where it has no faces.

    Text and binary files are read alike: all types of numbers, lists of any length in any element. Polygons are cut
    into triangles, triangle strips taken apart. Bytes after the last element are passed over.

    Raises
    ------
    InputError
        If the file is broken, incomplete or not three-dimensional, or has faces that name no vertices.
    """
    try:
        return _parse(path, read_bytes(path))
    except InputError:
        raise
    except (ValueError, IndexError, OverflowError, MemoryError, KeyError) as error:
        raise InputError(f"{path}: not a complete PLY file ({reason(error)}); export it again.") from None


def _parse(path: Path, content: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
    content = content.removeprefix(b"\xef\xbb\xbf")
    order, elements, start = _header(content)
    table: dict[str, dict[str, Any]] = {}
    source: _Words | _Bytes = _Bytes(content, start, order) if order else _Words(content[start:])
    for element in elements:
        if element.name in table:
            raise ValueError(f"the header has two elements {element.name}")
        table[element.name] = source.read(element)
    vertex = table.get("vertex", {})
    missing = [axis for axis in "xyz" if not isinstance(vertex.get(axis), np.ndarray)]
    if missing:
        found = ", ".join(vertex) or "no vertices"
        raise InputError(f"{path}: the vertices have no {', '.join(missing)} (found: {found}); export it with x, y, z.")
    vertices = np.stack([vertex[axis].astype(np.float64) for axis in "xyz"], axis=1)
    if not order:
        check_end(path, content, tell=False)
    faces = [part for part in (_faces(path, vertices, table), _strips(vertices, table)) if part is not None]
    if not faces:
        _check_points(path, table)
    return vertices, np.concatenate(faces) if faces else None


def _check_points(path: Path, table: dict[str, dict[str, Any]]) -> None:
    """Refuse surfaces whose lists of vertices have unknown names: what is left would pass for a cloud of points."""
    for name, own in table.items():
        lists = [key for key, values in own.items() if isinstance(values, tuple) and len(values[0])]
        if name != "vertex" and lists and (name in SURFACES or set(lists) & set(INDICES)):
            raise InputError(
                f"{path}: element {name} names no vertices that are understood (found: {', '.join(own)}); export "
                "faces with vertex_indices."
            )


def _faces(path: Path, vertices: NDArray[np.float64], table: dict[str, dict[str, Any]]) -> NDArray[np.int64] | None:
    face = table.get("face", {})
    lists = next((face[name] for name in INDICES if name in face), None)
    if lists is None:
        if any(len(values) for values in face.values() if isinstance(values, np.ndarray)):
            raise InputError(
                f"{path}: the faces name no vertices (found: {', '.join(face)}); export them as vertex_indices."
            )
        return None
    if not isinstance(lists, tuple):
        raise InputError(f"{path}: vertex_indices of the faces is no list; export it again.")
    corners, sizes = lists
    if len(sizes) == 0:
        return None
    return triangulated(vertices, _whole(corners), sizes)


def _whole(corners: NDArray[Any]) -> NDArray[np.int64]:
    """Return the numbers of vertices as int64, from any kind of number that a file can hold."""
    if corners.dtype.kind == "f":
        wrong = ~((np.abs(corners) < 2.0**53) & (np.floor(corners) == corners))
        if wrong.any():
            raise ValueError(f"vertex_indices have {corners[wrong][0]}, which is no whole number")
    return corners.astype(np.int64)


def _strips(vertices: NDArray[np.float64], table: dict[str, dict[str, Any]]) -> NDArray[np.int64] | None:
    """Return the triangles of strips, in which each three neighbours are one; -1 begins a new strip."""
    strips = table.get("tristrips", table.get("tristrip", {}))
    lists = next((strips[name] for name in INDICES if name in strips), None)
    if not isinstance(lists, tuple) or len(lists[0]) < 3:
        return None
    corners = _whole(lists[0])
    for end in np.cumsum(lists[1])[:-1][::-1]:
        corners = np.insert(corners, end, -1)
    triples = np.lib.stride_tricks.sliding_window_view(corners, 3)
    begins = np.concatenate([[0], np.flatnonzero(corners == -1) + 1])
    parity = np.arange(len(triples)) - begins[np.searchsorted(begins, np.arange(len(triples)), side="right") - 1]
    triangles = np.where((parity % 2 == 1)[:, None], triples[:, [1, 0, 2]], triples)[(triples != -1).all(axis=1)]
    return triangulated(vertices, triangles.ravel(), np.full(len(triangles), 3))


def _header(content: bytes) -> tuple[str, list[Element], int]:
    """Return the byte order ("" for text), the elements, and where the data begin."""
    order: str | None = None
    elements: list[Element] = []
    place = number = 0
    while True:
        end = min((spot for spot in (content.find(b"\n", place), content.find(b"\r", place)) if spot >= 0), default=-1)
        if end < 0 or number > 10_000:
            raise ValueError("the header has no end_header")
        line = content[place:end].decode("latin-1")
        place = end + (2 if content[end : end + 2] == b"\r\n" else 1)
        number += 1
        words = line.split()
        if number == 1:
            if words != ["ply"]:
                raise ValueError("it does not begin with 'ply'")
            continue
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "end_header":
            break
        try:
            if words[0] == "format":
                order = FORMATS[words[1]]
            elif words[0] == "element":
                elements.append(Element(words[1].lower(), int(words[2])))
                if elements[-1].rows < 0:
                    raise ValueError
            elif words[0] == "property":
                kinds = [TYPES[word] for word in words[1:-1] if word != "list"]
                if len(kinds) != (2 if words[1] == "list" else 1):
                    raise ValueError
                elements[-1].properties.append(Property(words[-1].lower(), kinds[-1], *kinds[:-1]))
            else:
                raise ValueError
        except (KeyError, IndexError, ValueError):
            raise ValueError(f"line {number} of the header reads {line[:60]!r}") from None
    if order is None:
        raise ValueError("the header states no format")
    return order, elements, place


class _Words:
    """The data of a text file."""

    def __init__(self, content: bytes) -> None:
        self.words = content.split()
        self.place = 0
        # where lines end, in words
        self.ends = set(np.cumsum([len(line.split()) for line in content.splitlines()]).tolist())

    def read(self, element: Element) -> dict[str, Any]:
        """Return the values of each property."""
        width = len(element.properties)
        if not any(item.count for item in element.properties):
            own = self._take(element.rows * width, element, width)
            self._check_line(element, element.rows - 1)
            values = np.array(own, dtype=np.float64).reshape(element.rows, width)
            return {item.name: values[:, column] for column, item in enumerate(element.properties)}
        found: dict[str, list[bytes]] = {item.name: [] for item in element.properties}
        sizes: dict[str, list[int]] = {item.name: [] for item in element.properties}
        for row in range(element.rows):
            for item in element.properties:
                size = int(self._take(1, element, 0, row)[0]) if item.count else 1
                found[item.name] += self._take(size, element, 0, row)
                sizes[item.name].append(size)
            self._check_line(element, row)
        return {
            item.name: (np.array(found[item.name], np.float64), np.array(sizes[item.name], np.int64))
            if item.count
            else np.array(found[item.name], dtype=np.float64)
            for item in element.properties
        }

    def _check_line(self, element: Element, row: int) -> None:
        """Refuse a row that ends within a line: the header counts other rows or properties than there are."""
        if self.place and self.place not in self.ends:
            raise ValueError(
                f"row {row} of element {element.name} ends within a line, before "
                f"{self.words[self.place][:40].decode('latin-1')!r}; the header says {element.rows} rows of "
                f"{len(element.properties)} properties"
            )

    def _take(self, count: int, element: Element, width: int, row: int = 0) -> list[bytes]:
        if count < 0:
            raise ValueError(f"row {row} of element {element.name} has a list of {count} numbers")
        words = self.words[self.place : self.place + count]
        if len(words) < count:
            row = len(words) // width if width else row
            raise ValueError(f"it ends in row {row} of the {element.rows} of element {element.name}")
        self.place += count
        return words


class _Bytes:
    """The data of a binary file."""

    def __init__(self, content: bytes, place: int, order: str) -> None:
        self.content, self.place, self.order = content, place, order

    def read(self, element: Element) -> dict[str, Any]:
        """Return the values of each property."""
        if element.rows == 0:
            return {
                item.name: (np.empty(0, np.int64),) * 2 if item.count else np.empty(0) for item in element.properties
            }
        lengths = self._row_lengths(element)
        fields: list[Any] = []
        for item in element.properties:
            if item.count:
                fields.append((f"count {item.name}", self.order + item.count))
            fields.append((item.name, self.order + item.kind, (lengths[item.name],) if item.count else ()))
        dtype = np.dtype(fields)
        if self.place + element.rows * dtype.itemsize <= len(self.content):
            rows = np.frombuffer(self.content, dtype, element.rows, self.place)
            if all((rows[f"count {name}"] == length).all() for name, length in lengths.items()):
                self.place += element.rows * dtype.itemsize
                return {
                    item.name: (
                        rows[item.name].ravel(),
                        np.full(element.rows, lengths[item.name], dtype=np.int64),
                    )
                    if item.count
                    else rows[item.name].astype(np.float64)
                    for item in element.properties
                }
        elif not lengths:
            row = (len(self.content) - self.place) // dtype.itemsize
            raise ValueError(f"it ends in row {row} of the {element.rows} of element {element.name}")
        return self._row_by_row(element)

    def _row_lengths(self, element: Element) -> dict[str, int]:
        """Return the lengths of the lists in the first row, which most often are those of all rows."""
        place, lengths = self.place, {}
        for item in element.properties:
            if item.count:
                lengths[item.name] = int(self._numbers(item.count, 1, place, element, 0)[0])
                place += np.dtype(item.count).itemsize
            place += lengths.get(item.name, 1) * np.dtype(item.kind).itemsize
        return lengths

    def _row_by_row(self, element: Element) -> dict[str, Any]:
        found: dict[str, list[Any]] = {item.name: [] for item in element.properties}
        sizes: dict[str, list[int]] = {item.name: [] for item in element.properties}
        for row in range(element.rows):
            for item in element.properties:
                size = 1
                if item.count:
                    size = int(self._numbers(item.count, 1, self.place, element, row)[0])
                    self.place += np.dtype(item.count).itemsize
                found[item.name].append(self._numbers(item.kind, size, self.place, element, row))
                self.place += size * np.dtype(item.kind).itemsize
                sizes[item.name].append(size)
        return {
            item.name: (np.concatenate(found[item.name]), np.array(sizes[item.name], dtype=np.int64))
            if item.count
            else np.concatenate(found[item.name]).astype(np.float64)
            for item in element.properties
        }

    def _numbers(self, kind: str, count: int, place: int, element: Element, row: int) -> NDArray[Any]:
        size = np.dtype(kind).itemsize
        if count < 0 or place + count * size > len(self.content):
            raise ValueError(f"it ends in row {row} of the {element.rows} of element {element.name}")
        return np.frombuffer(self.content, self.order + kind, count, place)


READERS = {".ply": read_ply}
