"""Keeping large blocks of memory instead of handing them back to the system after every tensor."""

import ctypes
import sys

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_large_blocks() -> bool:
    """Tell the C library to reuse freed blocks of any size; about halves the time of training on CPUs.

    By default glibc maps every large block anew, and the system clears its pages at first touch; that costs as
    much as the arithmetic of a thin layer. Afterwards the process keeps its peak memory until it ends, so this is
    for programs whose job is training or inference: call it once, before the first large tensor.

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
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 256 << 20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
