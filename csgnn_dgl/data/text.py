"""Text files of data sets."""

from pathlib import Path

from csgnn_dgl.errors import InputError, reason


def read_lines(path: Path, absent: str = "give one that exists", broken: str = "copy it again") -> list[str]:
    """Return the lines of a text file that are not blank, without the spaces around them.

    Parameters
    ----------
    path
        The file; a byte order mark is passed over.
    absent, broken
        What to do where there is no such file, and where it is empty or not text.

    Raises
    ------
    InputError
        If that is the case.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; {absent}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the file cannot be read as text ({reason(error)}); {broken}.") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: the file is empty; {broken}.")
    return lines
