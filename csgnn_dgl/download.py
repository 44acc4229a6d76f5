"""Fetching files on machines with internet."""

from __future__ import annotations

import hashlib
import http.client
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.files import atomic_write

FAILURES = (OSError, ValueError, http.client.HTTPException)
"""What a connection raises."""


def fetch(url: str, path: Path, progress: bool = False, timeout: float = 30.0, largest: int | None = None) -> None:
    """Copy what is at an address to a file.

    Parameters
    ----------
    url
        The address.
    path
        The file, written over.
    progress
        Show a progress bar on stderr.
    timeout
        Seconds without an answer after which to give up.
    largest
        Most bytes that are taken.

    Raises
    ------
    OSError, ValueError, http.client.HTTPException
        If the address gives nothing, not all of it, or too much.
    """
    from tqdm import tqdm

    request = Request(url, headers={"User-Agent": "csgnn_dgl"})  # some mirrors refuse Python's own name
    with urlopen(request, timeout=timeout) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        host = urlsplit(url).hostname or url
        text = f"fetching from {host}"
        with tqdm(total=total or None, desc=text, unit="B", unit_scale=True, disable=not progress) as shown:
            copied = 0
            while chunk := answer.read(2**20):
                copied += len(chunk)
                if largest is not None and copied > largest:
                    raise OSError(f"there are more than {largest} bytes")
                file.write(chunk)
                shown.update(len(chunk))
    if total and copied != total:
        raise OSError(f"the connection broke after {copied} of {total} bytes")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()


def fetch_checked(url: str, path: Path, sha256: str, progress: bool = False, largest: int | None = None) -> None:
    """Put the file at an address to `path`, or nothing unless its SHA-256 is this one; see `fetch`.

    Raises
    ------
    InputError
        If the address gives no file, or another one.
    """
    try:
        with atomic_write(path) as file:
            fetch(url, file, progress, largest=largest)
            if (found := sha256_of(file)) != sha256:
                raise InputError(f"{url} gave a file whose SHA-256 is {found} and not {sha256}; it is not used")
    except InputError:
        raise
    except FAILURES as error:
        raise InputError(f"{url} could not be fetched ({reason(error)}); fetch it by hand and name the file") from error
