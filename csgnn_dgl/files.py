"""Writing files so that nobody ever sees half of one, and where those stand that can be made again."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFTOVER = ".part-"
"""What the names of files begin with that are being written."""


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` when the block ends without an error.

    Parameters
    ----------
    path
        The file to write. Missing parent folders are made.
    mode
        Who may read and write it, less what the umask takes away.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix. If the block raises, it is removed and whatever
        stood at `path` before stays as it was. The content is on the disk before the name is, so that not even a loss
        of power leaves half a file; see `remove_leftovers` for what a killed process leaves.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=LEFTOVER, suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(mode & ~umask)
        _to_disk(temporary)
        temporary.replace(target)
        _to_disk(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what killed processes left half written in a folder and those in it; nobody may be writing there."""
    for path in Path(folder).rglob(f"{LEFTOVER}*"):
        path.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder for files that can be made again, whether it exists or not.

    Returns
    -------
    Path
        ``$CSGNN_CACHE``, else ``$XDG_CACHE_HOME/csgnn_dgl``, else ``~/.cache/csgnn_dgl``.
    """
    chosen = os.environ.get("CSGNN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~"), ".cache")) / "csgnn_dgl"
