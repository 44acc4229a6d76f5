"""Whether the last line of a text is whole."""

import re
from pathlib import Path

from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

TAIL = 20_000
"""Bytes at the end of a file that are looked at."""

FEWEST, DIGITS = 8, 3
"""Lines whose last numbers have to be written alike, and decimals of these, before fewer count as damage."""

DECIMALS = re.compile(rb"[-+]?\d*\.(\d*)(?:[eE]([-+]?\d*))?")


def check_end(path: Path, content: bytes, tell: bool = True) -> None:
    """Refuse a text that ends within a number, and tell where that cannot be known.

    A text that ends in a line end or blank is taken to be whole: one that was cut there cannot be told from another.
    Where the last numbers of the lines before have the same number of digits, that of the last line has to have them.

    Parameters
    ----------
    path, content
        The file, and what is in it.
    tell
        Note that a file does not end in a line end where nothing else says whether it is whole.

    Raises
    ------
    InputError
        If its last number is cut.
    """
    if not content or content[-1:].isspace():
        return
    *before, last = content[-TAIL:].splitlines()
    own = last.split()
    if not own:
        return
    forms = [
        _form(words[-1]) for line in before[1:] if (words := line.split()) and words[0].isalpha() == own[0].isalpha()
    ]
    usual, found = forms[0] if forms else (0, 0), _form(own[-1])
    if len(forms) >= FEWEST and usual[0] >= DIGITS and set(forms) == {usual} and min(found, usual) == found != usual:
        shown = last[-40:].decode("latin-1")
        raise InputError(f"{path}: the file ends within a number ({shown!r}); it was cut short, copy it again.")
    if tell:
        note(path, "the last line has no end; if the file was cut short, its last number may lack digits")


def _form(word: bytes) -> tuple[int, int]:
    """Return how many decimals a number has, and letters of its exponent."""
    match = DECIMALS.fullmatch(re.split(rb"[,;]", word)[-1])
    return (len(match[1]), len(match[2] or b"")) if match else (0, 0)
