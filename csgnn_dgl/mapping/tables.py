"""Modules whose buffers are tables: they follow the model to its device and keep their precision."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from csgnn_dgl.geometry import Icosphere


class TableModule(nn.Module):
    """A module without parameters whose buffers are geometric tables in int64 and float64.

    ``model.half()`` or ``model.float()`` must not round the geometry, so only the device of a conversion is
    followed. The tables are computed anew when a model is built and therefore left out of its ``state_dict``.
    """

    def add_table(self, name: str, table: NDArray[Any]) -> None:
        """Register a copy of `table` as the non-persistent buffer `name`."""
        self.register_buffer(name, torch.from_numpy(np.array(table)), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TableModule":
        return super()._apply(lambda table: table.to(fn(table).device), recurse)


def faces_around_vertices(sphere: Icosphere) -> NDArray[np.int64]:
    """Return the (V, 6) faces that meet at each vertex, in ascending order; 5-valent vertices end in -1."""
    corner = sphere.faces.reshape(-1)
    order = np.argsort(corner, kind="stable")
    vertex = corner[order]
    place = np.arange(len(vertex)) - np.searchsorted(vertex, vertex)
    fans = np.full((sphere.num_vertices, 6), -1, dtype=np.int64)
    fans[vertex, place] = order // 3
    return fans
