"""How much a file may ask for: a file of a kilobyte can announce terabytes, and says so before it is believed.

Every bound is multiplied by the environment variable ``CSGNN_BOUNDS`` (1 by default), for those who have larger files.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from csgnn_dgl.errors import InputError

VARIABLE = "CSGNN_BOUNDS"

FILE = 2 * 2**30
"""Bytes of a file that is read as a whole."""

UNPACKED, RATIO = 64 * 2**20, 100
"""Bytes that a file may always unpack to or announce, and how many times its own size beyond that."""

OPTIONS = 2**20
"""Bytes of a config."""

ENTRIES, DEPTH = 100_000, 50
"""Values in a config, each counted as often as it is referred to, and how deeply they may be nested."""

COUNT = 1_000_000
"""Whole number in the options of a model or its data, but for seeds."""

NODES = 2_000_000
"""Vertices of all spheres of a grid together."""

WEIGHTS = 2**30
"""Bytes of all tensors that are made while a model is."""

CORNERS = 10_000
"""Corners of a polygon that is not convex."""

FACTORIES = ("empty", "zeros", "ones", "full", "rand", "randn")
"""Operators whose first argument is the shape of what they make."""


def scale() -> float:
    """Return what the bounds are multiplied by.

    Raises
    ------
    InputError
        If the environment variable is no positive number.
    """
    text = os.environ.get(VARIABLE, "1")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{VARIABLE} is {text!r}; give a positive number, by which all bounds are multiplied")
    return value


def check(place: object, what: str, value: float, bound: float) -> None:
    """Raise InputError where something is beyond its bound.

    Parameters
    ----------
    place
        The file or option, with which the message begins.
    what
        What it has, with ``{}`` for the value.
    value, bound
        The value, and what it may be at most where the environment asks for no more.
    """
    if value > bound * scale():
        shown = f"{value:,.0f}" if value < 1e15 else f"{value:.3g}"
        raise InputError(
            f"{place}: {what.format(shown)}, more than {bound * scale():,.0f}; it is damaged or was made to fill the "
            f"memory, else set {VARIABLE} to raise all bounds, as {VARIABLE}={_needed(value, bound):g}."
        )


def _needed(value: float, bound: float) -> float:
    """Return the least number of one digit and zeros by which a bound has to be multiplied."""
    factor = min(max(value / bound, 1.0), 1e15)
    place = 10 ** math.floor(math.log10(factor))
    return math.ceil(factor / place) * place


def check_announced(place: object, announced: float, size: int) -> None:
    """Raise InputError where a file of `size` bytes announces far more bytes than it has."""
    check(place, "it announces {} bytes" + f" in {size:,}", announced, max(UNPACKED, RATIO * size))


def check_regular(path: Path, most: int = FILE) -> int:
    """Return the size of a file in bytes.

    Raises
    ------
    InputError
        If it is a pipe, socket or device, which may never end, or larger than `most` bytes.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: it is no regular file; give a file.")
    check(path, "it has {} bytes", found.st_size, most)
    return found.st_size


def read_bytes(path: Path, most: int = FILE) -> bytes:
    """Return the content of a file; see `check_regular`."""
    check_regular(path, most)
    return path.read_bytes()


def check_entries(place: object, content: Any) -> None:
    """Raise InputError where nested values are too many or too deep; what is referred to twice counts twice."""
    count, level = 0, [content]
    for _ in range(DEPTH + 1):
        following: list[Any] = []
        for item in level:
            count += 1
            check(place, "it has {} or more values, or refers to some again and again", count, ENTRIES)
            if isinstance(item, Mapping):
                following += item.values()
            elif isinstance(item, (list, tuple)):
                following += item
        level = following
        if not level:
            return
    raise InputError(f"{place}: its values are nested more than {DEPTH} deep; write them flatter.")


def check_counts(place: object, content: Any, key: str = "") -> None:
    """Raise InputError where a whole number in nested options is beyond what anything here is counted in."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            check_counts(place, value, str(name))
    elif isinstance(content, (list, tuple)):
        for value in content:
            check_counts(place, value, key)
    elif isinstance(content, int) and not isinstance(content, bool) and "seed" not in key:
        check(place, f"{key} is {{}}", abs(content), COUNT)


@contextmanager
def bounded_tensors(place: object) -> Iterator[None]:
    """Count the bytes of the tensors that are made within, before they are made.

    Raises
    ------
    InputError
        If they are more than `WEIGHTS`.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    made = 0

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal made
            if function.overloadpacket.__name__ in FACTORIES and isinstance(args[0], (list, tuple)):
                made += 4 * math.prod(args[0])
                check(place, "its model takes {} bytes", made, WEIGHTS)
            return function(*args, **(kwargs or {}))

    with Counting():
        yield
