"""Numbers as Fortran writes them: without spaces between them, without the ``E`` of an exponent, or as stars."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError

# An exponent of three digits has no E; the three digits of 1.5-100.25 are no exponent but begin the next number.
NUMBER = re.compile(
    r"(?P<mantissa>[+-]?(?:\d+\.\d*|\.\d+))(?:[EeDd](?P<exponent>[+-]?\d{1,3}(?!\.))|(?P<bare>[+-]\d{3})(?![\d.]))?"
    r"|(?P<whole>[+-]?\d+)(?:[EeDd](?P<power>[+-]?\d{1,3}(?!\.)))?(?!\.)"
    r"|(?P<stars>\*+)|(?P<none>[+-]?(?:nan|inf(?:inity)?))",
    re.IGNORECASE,
)


def numbers_in(text: str) -> list[tuple[float, float]]:
    """Return the numbers in a text, each with the unit of its last digit.

    Stars, which Fortran writes for a number that its field has no room for, are NaN with an infinite unit.

    Raises
    ------
    ValueError
        If there is anything else in the text.
    """
    rest = NUMBER.sub(" ", text).split()
    if rest:
        raise ValueError(f"{rest[0]!r} is no number")
    return [_number(match) for match in NUMBER.finditer(text)]


def _number(match: re.Match[str]) -> tuple[float, float]:
    if match["stars"]:
        return np.nan, np.inf
    if match["none"]:
        return float(match["none"]), 0.0
    mantissa = match["mantissa"] or match["whole"]
    exponent = int(match["exponent"] or match["bare"] or match["power"] or 0)
    decimals = len(mantissa.partition(".")[2])
    return float(f"{mantissa}e{exponent}"), float(f"1e{exponent - decimals}")


def one_number(text: str, path: Path, kind: str, what: str) -> float:
    """Return the one number of a text; see :func:`some_numbers`."""
    return some_numbers(text, 1, path, kind, what)[0]


def some_numbers(text: str, count: int, path: Path, kind: str, what: str) -> list[float]:
    """Return so many numbers of a text.

    Raises
    ------
    InputError
        If there are not so many, or one has overflowed; it tells `what` they are, in what `kind` of file.
    """
    shown = text.strip()
    if "*" in shown:
        raise InputError(
            f"{path}: {what} is {shown!r}, an overflow: VASP had no room for the number; mend it or compute again."
        )
    try:
        found = numbers_in(shown)
        if len(found) != count:
            raise ValueError
    except ValueError:
        wanted = "no number" if count == 1 else f"not {count} numbers"
        raise InputError(
            f"{path}: not a complete {kind} ({what} is {shown!r}, which is {wanted}); copy it again."
        ) from None
    return [value for value, _ in found]


def table_of_numbers(
    rows: Sequence[str], path: Path, kind: str, places: Sequence[str], columns: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the numbers (M, C) of rows of text, and the units of their last digits (M, C).

    Parameters
    ----------
    rows
        One text per row.
    path, kind, places
        The file, what kind of file it is, and what each row is called in a complaint.
    columns
        How many columns there may be.

    Raises
    ------
    InputError
        If a row holds something else than numbers, or another number of them than it should.
    """
    found = []
    for row, place in zip(rows, places, strict=True):
        try:
            found.append(numbers_in(row))
        except ValueError as error:
            raise InputError(
                f"{path}: not a table of energy, DOS and integrated DOS ({place}: {error}); the file may be damaged."
            ) from None
        if "*" in row and (len(found[-1]) not in columns or len(found[-1]) != len(found[0])):
            raise InputError(
                f"{path}: {place} of the DOS has stars, an overflow ({row.strip()[:80]}): VASP had no room for the "
                f"numbers; compute again with other EMIN, EMAX or NEDOS."
            )
        if len(found) == 1 and len(found[0]) not in columns:
            wanted = " or ".join(map(str, columns))
            raise InputError(
                f"{path}: the total DOS has {len(found[0])} columns ({row.strip()[:80]}), not {wanted}: "
                f"energy, DOS and integrated DOS; the file may be damaged, or is no {kind}."
            )
        if len(found[-1]) != len(found[0]):
            raise InputError(
                f"{path}: {place} of the DOS has {len(found[-1])} numbers ({row.strip()[:80]}) where others have "
                f"{len(found[0])}; the file may be damaged."
            )
    both = np.array(found, dtype=np.float64).reshape(len(rows), -1, 2)
    return both[..., 0], both[..., 1]
