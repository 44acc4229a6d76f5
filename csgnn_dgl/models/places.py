"""Where weights stand: in the package, in a file or run folder, or at an address, with a checksum."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from csgnn_dgl.download import fetch_checked, sha256_of
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import cache_folder

FOLDER = Path(str(files("csgnn_dgl"))) / "weights"
"""Where the weights that come with the package stand: ``NAME.ckpt``, and beside it the card, ``NAME.md``."""

LARGEST = 2**30
"""More bytes than this are no weights of this package, and not fetched."""


def weights_file(place: str | os.PathLike[str], sha256: str | None = None, progress: bool = False) -> Path:
    """Return the file, or run folder, at a place.

    Parameters
    ----------
    place
        The name of weights that come with the package (a file of the same name is given as ``./NAME``), a checkpoint, a
        run folder, or an address of a checkpoint, which is kept in the cache.
    sha256
        Checksum that the file has to have: 64 hexadecimal digits. An address is not used without one.
    progress
        Show a progress bar on stderr where something is fetched.

    Raises
    ------
    InputError
        If there is nothing at the place, or something else.
    """
    word = str(place)
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InputError(f"sha256 is {sha256!r}; give 64 hexadecimal digits")
    if urlsplit(word).scheme in ("http", "https"):
        if sha256 is None:
            raise InputError(f"{word} is fetched only with its checksum; give sha256, which stands beside it")
        return _fetched(word, sha256.lower(), progress)
    shipped = FOLDER / f"{word}.ckpt"
    if re.fullmatch(r"[\w-]+", word) and shipped.is_file():
        path = shipped
    elif Path(word).exists():
        path = Path(word)
    else:
        known = ", ".join(path.stem for path in sorted(FOLDER.glob("*.ckpt")))
        raise InputError(f"{word!r} is no checkpoint or run folder, and no weights of the package ({known}); give one")
    if sha256 is not None:
        if path.is_dir():
            raise InputError(f"{word} is a folder, and sha256 is for a file; name its checkpoint")
        if (found := sha256_of(path)) != sha256.lower():
            raise InputError(f"{word} has the SHA-256 {found} and not {sha256}; it is not used, fetch it again")
    return path


def _fetched(url: str, sha256: str, progress: bool) -> Path:
    target = cache_folder() / "weights" / f"{sha256[:16]}-{Path(urlsplit(url).path).name[-80:]}"
    if not target.is_file() or sha256_of(target) != sha256:
        fetch_checked(url, target, sha256, progress, LARGEST)
    return target
