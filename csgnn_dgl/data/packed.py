"""Files packed by gzip, bzip2 or xz, known by suffix or first bytes, and the text of files of any encoding."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

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
    if path.suffix.lower() in OPENERS:
        return cast("IO[bytes]", OPENERS[path.suffix.lower()][1](path, "rb"))
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((one for mark, one in OPENERS.values() if start.startswith(mark)), open)
    return cast("IO[bytes]", opener(path, "rb"))


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
    except DAMAGE as error:
        raise InputError(f"{path}: the file is damaged or truncated ({reason(error)}); fetch it again.") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise InputError(f"{path}: the file is no text; it is damaged, or give it its suffix.") from None
        return content.decode("latin-1")
