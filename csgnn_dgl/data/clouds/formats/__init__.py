"""Readers of shapes: every module here has a table ``READERS`` from lower-case suffixes to functions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.data.formats import collect_readers

Reader = Callable[[Path], tuple[NDArray[np.float64], NDArray[np.int64] | None]]
"""From a file to its vertices (V, 3) and triangles (F, 3), or to points (N, 3) and None. InputError says why not."""

READERS: dict[str, Reader] = collect_readers(__name__, __path__)
