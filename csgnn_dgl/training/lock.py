"""One training at a time in a run folder."""

from __future__ import annotations

import datetime
import fcntl
import os
import socket
from pathlib import Path

from csgnn_dgl.errors import InputError
from csgnn_dgl.notes import note

_HELD: set[int] = set()


class FolderLock:
    """A lock on a folder, held until `release` or the end of the process, however that comes.

    The system keeps it, so that no lock of a process that has ended is ever in the way. The file ``.lock`` says who
    holds it.

    Parameters
    ----------
    folder
        The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        InputError
            If another training has it: this says which.
        """
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 500).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            raise InputError(
                f"{self.folder} is being trained in by {holder}; wait until that has ended, or end it"
            ) from None
        except OSError as error:
            note(self.folder, f"cannot be locked ({error.strerror}); see to it that no other training uses it")
        _HELD.add(handle)
        self._handle = handle
        since = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())

    def release(self) -> None:
        """Give it back."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            _HELD.discard(self._handle)
            self._handle = None


def _let_go() -> None:
    """Close the files of the locks in a child: a worker must not hold the lock of a process that has been killed."""
    for handle in _HELD:
        os.close(handle)
    _HELD.clear()


os.register_at_fork(after_in_child=_let_go)
