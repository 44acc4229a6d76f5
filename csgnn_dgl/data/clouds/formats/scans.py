"""Clouds of scanners: PCD (ASCII, binary, compressed), and LAS and LAZ where laspy is installed."""

import io
import re
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.bounds import check_announced, check_regular, read_bytes
from csgnn_dgl.data.clouds.endings import check_end
from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.notes import note

PADDING = "#$%&~~"
"""What pypcd4 lets the names of fields begin with that have none."""

LONGEST_LINE, LINES = 100_000, 1_000
"""Bytes of a line of a PCD header, and lines and fields of one."""


HEADER, RECORD, PACKED = 375, 54, 128
"""Bytes of the header of a LAS file and of an empty record, and what the number of a packed point format has on top."""


def read_pcd(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) of a PCD file with pypcd4; other fields are passed over.

    Raises
    ------
    InputError
        If the file is broken or incomplete, or has no x, y and z.
    """
    from pypcd4.pypcd4 import PointCloud

    try:
        _check_pcd(path)
        cloud = PointCloud.from_fileobj(io.BufferedReader(io.BytesIO(_plain_pcd(read_bytes(path)))))
        fields = tuple(name for name in cloud.metadata.fields if not name.startswith(PADDING))
        if set("xyz") <= set(fields):
            points = np.stack([np.asarray(cloud.pc_data[axis], dtype=np.float64) for axis in "xyz"], axis=-1)
            if len(points) < cloud.metadata.points:
                raise ValueError(f"it ends after {len(points)} of {cloud.metadata.points} points")
    except InputError:
        raise
    except Exception as error:  # a reader of foreign formats fails in as many ways as there are broken files
        raise InputError(f"{path}: not a complete PCD file ({reason(error)}); export it again.") from None
    if not set("xyz") <= set(fields):
        raise InputError(f"{path}: there are no fields x, y and z ({', '.join(fields)}); export it with them.")
    _tell(path, [name for name in fields if name not in "xyz"])
    return points.reshape(-1, 3)


def _plain_pcd(content: bytes) -> bytes:
    """Return a PCD file in the one dialect that pypcd4 reads.

    Older files lack COUNT and have COLUMNS for FIELDS; names of axes may be in upper case; lines of numbers may have
    further blanks.
    """
    found = re.search(rb"(?m)^\s*DATA[ \t]+(\w+)[^\n]*\n", content)
    if found is None:
        return content
    facts = {}
    for line in content[: found.start()].splitlines():
        words = line.split()
        if words and not words[0].startswith(b"#"):
            facts[words[0].upper()] = words[1:]
    facts.setdefault(b"FIELDS", facts.pop(b"COLUMNS", []))
    facts[b"FIELDS"] = [name.lower() if name in (b"X", b"Y", b"Z") else name for name in facts[b"FIELDS"]]
    facts.setdefault(b"COUNT", [b"1"] * len(facts[b"FIELDS"]))
    lines = [b" ".join([key, *words]) for key, words in facts.items()]
    kind, data = found[1].lower(), content[found.end() :]
    if kind == b"ascii":
        data = b"".join(b" ".join(words) + b"\n" for line in data.splitlines() if (words := line.split()))
    return b"\n".join([*lines, b"DATA " + kind, data])


def _check_pcd(path: Path) -> None:
    """Make sure that a PCD file has the points that its header announces, before they are made room for."""
    size = check_regular(path)
    facts: dict[str, list[str]] = {}
    with path.open("rb") as file:
        while "DATA" not in facts:
            line = file.readline(LONGEST_LINE).decode("latin-1")
            if not line or len(facts) > LINES:
                raise ValueError("the header has no line DATA")
            words = line.split()
            if words and not words[0].startswith("#"):
                facts[words[0].upper()] = words[1:]
        left = size - file.tell()
        points, sizes = int(facts["POINTS"][0]), [int(word) for word in facts["SIZE"]]
        counts = [int(word) for word in facts.get("COUNT", ["1"] * len(sizes))]
        announced = points * sum(one * number for one, number in zip(sizes, counts, strict=True))
        if min(points, *sizes, *counts) < 0 or sum(counts) > LINES:
            raise ValueError("the header announces fields of no size or too many")
        kind = facts["DATA"][0].lower()
        if kind == "binary_compressed":
            packed, unpacked = np.frombuffer(file.read(8), "<u4")
            if packed > left or unpacked != announced:
                raise ValueError(f"{unpacked} bytes are packed, {announced} are wanted, and {left} follow")
            check_announced(path, announced, size)
        elif kind == "ascii":
            check_end(path, read_bytes(path), tell=False)
        if kind != "binary_compressed" and (announced if kind == "binary" else 2 * points * len(sizes) - 1) > left:
            raise ValueError(f"{points} points are announced and {left} bytes follow")


def read_las(path: Path) -> NDArray[np.float64]:
    """Read the points (N, 3) of a LAS or LAZ file with laspy, scaled and moved as its header says.

    Raises
    ------
    InputError
        If laspy is missing, or the file is broken.
    """
    try:
        import laspy
    except ImportError:
        raise InputError(f"{path}: LAS and LAZ need laspy; install it: pip install 'laspy[lazrs]'.") from None
    try:
        _check_las(path)
        cloud = laspy.read(path, laz_backend=laspy.LazBackend.Lazrs)  # in one thread: the others panic at damage
        points = np.asarray(cloud.xyz, dtype=np.float64)
        if len(points) < cloud.header.point_count:
            raise ValueError(f"it ends after {len(points)} of {cloud.header.point_count} points")
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(f"{path}: not a complete LAS file ({reason(error)}); export it again.") from None
    _tell(path, [name for name in cloud.point_format.dimension_names if name not in ("X", "Y", "Z")])
    return points.reshape(-1, 3)


def _check_las(path: Path) -> None:
    """Make sure that a LAS file has what its header announces, for which laspy makes room."""
    size = check_regular(path)
    with path.open("rb") as file:
        head = file.read(HEADER)
    head = head.ljust(HEADER, b"\0")
    length, start, records = struct.unpack_from("<HII", head, 94)
    width, count = struct.unpack_from("<HI", head, 105)
    place, further, points = struct.unpack_from("<QIQ", head, 235)
    if head[25] < 4:  # the minor version, up to which there are no further records
        place, further, points = size, 0, count
    if records * RECORD > start - length or further * RECORD > size - place or start > size:
        raise ValueError(f"{records + further} records are announced and {size} bytes are there")
    check_announced(path, float(points * width), size)
    if head[104] >= PACKED:  # a table of chunks, for which room is made before it is read
        with path.open("rb") as file:
            file.seek(start)
            (table,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
            file.seek(table if 0 <= table < size else 0)
            _, chunks = struct.unpack("<II", file.read(8).ljust(8, b"\0"))
        if not start < table < size or chunks > size:
            raise ValueError(f"{chunks} chunks are announced and {size} bytes are there")
    if head[104] < PACKED and points * width > size - start:
        raise ValueError(f"{points} points are announced and {size} bytes are there")


def _tell(path: Path, others: list[str]) -> None:
    if others:
        note(path, f"x, y, z were read; passed over: {', '.join(others)}")


READERS = {
    ".pcd": lambda path: (read_pcd(path), None),
    ".las": lambda path: (read_las(path), None),
    ".laz": lambda path: (read_las(path), None),
}
