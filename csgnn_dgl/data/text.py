"""Text files of data sets."""

import os
from pathlib import Path

from csgnn_dgl.bounds import read_bytes
from csgnn_dgl.errors import InputError, reason


def read_lines(path: Path, absent: str = "give one that exists", broken: str = "copy it again") -> list[str]:
    """Return the lines of a text file that are not blank, without the spaces around them and a byte order mark.

    Raises
    ------
    InputError
        If there is no such file, or it is empty or not text; `absent` or `broken` say what to do then.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; {absent}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the file cannot be read as text ({reason(error)}); {broken}.") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: the file is empty; {broken}.")
    return lines


def check_name(name: str | os.PathLike[str]) -> None:
    """Raise InputError if the name of a file or folder is not text, as on disks that were written in another encoding.

    Neither configs nor results could hold it.
    """
    try:
        os.fspath(name).encode("utf-8")
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(f"{shown}: the name is not in UTF-8; rename it.") from None
