"""Writing files so that nobody ever sees half of one, and where those stand that can be made again."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` when the block ends without an error.

    Parameters
    ----------
    path
        The file to write. Missing parent folders are made.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix. If the block raises, it is removed and whatever
        stood at `path` before stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


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
