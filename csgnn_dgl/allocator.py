"""Keeping blocks of memory instead of handing them back to the system after every tensor."""

import ctypes
import os
import sys

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3

_LARGEST_KEPT = 32 << 20  # the most that mallopt takes


def keep_large_blocks() -> bool:
    """Tell the C library to reuse freed blocks of up to 32 MB; about halves the time of training on CPUs.

    By default glibc maps every large block anew, and the system clears its pages, 4 kB at a time, at first touch; that
    costs as much as the arithmetic of a thin layer. Afterwards the process keeps such memory until it ends, so this is
    for programs whose job is training or inference: call it once, before the first tensor. Still larger blocks are
    mapped in huge pages, which cost little to clear, and handed back: kept, they would leave holes of their size, a
    gigabyte for the paper's model.

    Returns
    -------
    bool
        Whether the C library took the setting; False on systems without glibc, where nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it at its first tensor
    settings = {_MMAP_THRESHOLD: _LARGEST_KEPT, _TRIM_THRESHOLD: -1, _TOP_PAD: 256 << 20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
