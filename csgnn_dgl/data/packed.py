"""Files packed by gzip, bzip2 or xz, known by suffix or first bytes, and the text of files of any encoding."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from csgnn_dgl.bounds import FILE, check, check_announced, check_regular
from csgnn_dgl.errors import InputError, reason

OPENERS: dict[str, tuple[bytes, Callable[..., Any]]] = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ\0", lzma.open),
}
"""By suffix: what a packed file begins with, and what opens it."""

PACKED = tuple(OPENERS)
"""Suffixes of packed files."""

DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged packed file raises."""


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file that is packed, by its suffix or its first bytes, or plain; what it reads is unpacked."""
    size = check_regular(path)
    if path.suffix.lower() in OPENERS:
        opener = OPENERS[path.suffix.lower()][1]
    else:
        with path.open("rb") as file:
            start = file.read(6)
        found = next((one for mark, one in OPENERS.values() if start.startswith(mark)), None)
        if found is None:
            return path.open("rb")
        opener = found
    return cast("IO[bytes]", _Bounded(path, opener(path, "rb"), size))


class _Bounded(io.RawIOBase):
    """What is unpacked of a file, as far as its bounds go."""

    def __init__(self, path: Path, source: IO[bytes], size: int) -> None:
        self.path, self.source, self.size, self.count = path, source, size, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size is not None and size >= 0:
            return self._counted(self.source.read(size))
        parts = []
        while part := self.read(CHUNK):
            parts.append(part)
        return b"".join(parts)

    def _counted(self, part: bytes) -> bytes:
        self.count += len(part)
        check_announced(self.path, self.count, self.size)
        check(self.path, "it unpacks to {} bytes", self.count, FILE)
        return part

    def close(self) -> None:
        self.source.close()
        super().close()


CHUNK = 2**20
"""Bytes that are unpacked at a time."""


def unpacked_name(path: Path) -> str:
    """Return the name of a file without the suffix that says how it is packed."""
    return path.stem if path.suffix.lower() in PACKED else path.name


def read_text(path: Path) -> str:
    """Return the text of a file, packed or not: in UTF-8, with or without a byte order mark, or else in Latin-1.

    Raises
    ------
    InputError
        If the file is damaged, or no text.
    """
    try:
        with open_unpacked(path) as file:
            content = file.read()
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path}: the file is damaged or truncated ({reason(error)}); fetch it again.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise InputError(f"{path}: the file is no text; it is damaged, or give it its suffix.") from None
        return content.decode("latin-1")
