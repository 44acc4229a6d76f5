"""Notes: what was assumed, passed over or resampled in reading files, told once on the logger ``csgnn_dgl``.

A script sees them on stderr, as all warnings of ``logging``; ``logging.getLogger("csgnn_dgl")`` is where to send them
elsewhere or silence them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOGGER = logging.getLogger("csgnn_dgl")
_GATHERED: ContextVar[dict[str, list[str]] | None] = ContextVar("gathered", default=None)


def note(place: str | os.PathLike[str], text: str) -> None:
    """Tell what was made of a file: ``place: text``."""
    gathered = _GATHERED.get()
    if gathered is None:
        LOGGER.warning("%s: %s", os.fspath(place), text)
    else:
        gathered.setdefault(text, []).append(os.fspath(place))


@contextmanager
def notes_together(place: str | os.PathLike[str]) -> Iterator[None]:
    """Tell what is the same of many files once, with their number and one of them."""
    gathered: dict[str, list[str]] = {}
    token = _GATHERED.set(gathered)
    try:
        yield
    finally:
        _GATHERED.reset(token)
        for text, places in gathered.items():
            if len(places) == 1:
                note(places[0], text)
            else:
                note(place, f"{text} ({len(places)} files, such as {os.path.basename(places[0])})")
