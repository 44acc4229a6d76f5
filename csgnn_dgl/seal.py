"""A checksum within a zip file, such as torch and NumPy write: any bit that has changed since is noticed.

It stands in the comment at the file's end, which readers of zip files pass over: SHA-256 of everything before it.
"""

import hashlib
import os
from typing import BinaryIO

NAME = b"csgnn_dgl sha256 "
LENGTH = len(NAME) + 64
END, END_LENGTH = b"PK\x05\x06", 22
"""How the last record of a zip file begins, and its bytes without a comment; the last two count the comment's."""


def write_sealed(content: bytes | memoryview, file: BinaryIO) -> None:
    """Write the content of a zip file with a seal.

    Raises
    ------
    ValueError
        If it is no zip file, or has a comment already.
    """
    view = memoryview(content)
    if bytes(view[-END_LENGTH:-18]) != END or bytes(view[-2:]) != b"\0\0":
        raise ValueError("only a zip file without a comment can be sealed")
    count = LENGTH.to_bytes(2, "little")
    summed = hashlib.sha256(view[:-2])
    summed.update(count)
    file.write(view[:-2])
    file.write(count + NAME + summed.hexdigest().encode())


def is_sealed(path: str | os.PathLike[str]) -> bool:
    """Whether a file has a seal; one without was written by another program or an early version.

    Raises
    ------
    ValueError
        If it has one that does not fit: the file has changed.
    """
    with open(path, "rb") as file:
        rest = max(file.seek(0, os.SEEK_END) - LENGTH, 0)
        file.seek(max(rest - END_LENGTH, 0))
        tail = file.read()
        place = tail.rfind(END)  # in a file that was cut short it is not where it should be
        announced = place >= 0 and tail[place + 20 : place + END_LENGTH] == LENGTH.to_bytes(2, "little")
        comment = tail[END_LENGTH:]
        if not announced and not comment.startswith(NAME):
            return False
        file.seek(0)
        summed = hashlib.sha256()
        while rest > 0 and (part := file.read(min(rest, 1 << 20))):
            summed.update(part)
            rest -= len(part)
    if place or not announced or comment != NAME + summed.hexdigest().encode():
        raise ValueError("its checksum does not fit")
    return True
