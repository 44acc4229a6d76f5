"""The hierarchy of levels that a model works on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.graphs.levels import ConcentricLevel, PoolingLevel
from csgnn_dgl.graphs.tables import check_grid_arguments

if TYPE_CHECKING:
    import dgl


class ConcentricGrid:
    """Concentric icospheres at every level from the finest to the icosahedron (Fig. 1), with the pooling between them.

    Building takes milliseconds; the DGL graphs are made when first asked for. Pickling keeps the three arguments
    alone.

    Parameters
    ----------
    level
        The finest level.
    num_spheres
        Number of spheres R, the same at every level.
    kernel_size
        Odd size K of the largest radial kernel.

    Attributes
    ----------
    levels
        ``levels[l]`` is the :class:`ConcentricLevel` l, from 0 to `level`.
    steps
        ``steps[l]`` is the :class:`PoolingLevel` from l to l - 1, for l from 1 to `level`.

    Raises
    ------
    ValueError
        As in :func:`csgnn_dgl.concentric_heterograph`.

    Examples
    --------
    >>> grid = ConcentricGrid(level=4, num_spheres=20)
    >>> grid.graph(4).num_nodes("vertex"), grid.pooling(4).num_nodes("coarse")
    (51240, 12840)
    """

    def __init__(self, level: int, num_spheres: int, kernel_size: int = 3) -> None:
        check_grid_arguments(level, num_spheres, kernel_size)
        self.level = level
        self.num_spheres = num_spheres
        self.kernel_size = kernel_size
        self.levels = tuple(ConcentricLevel(lower, num_spheres, kernel_size) for lower in range(level + 1))
        self.steps = {upper: PoolingLevel(upper, num_spheres) for upper in range(1, level + 1)}

    def graph(self, level: int) -> dgl.DGLGraph:
        """Return the heterograph of one level, as made by :func:`csgnn_dgl.concentric_heterograph`."""
        return self.levels[level].graph

    def pooling(self, level: int) -> dgl.DGLGraph:
        """Return the bipartite graph from `level` to `level` - 1, as made by :func:`csgnn_dgl.pooling_graph`."""
        return self.steps[level].graph

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all graphs into one file with ``dgl.save_graphs``: the levels from 0 up, then the steps from 1 up."""
        graphs = [level.graph for level in self.levels] + [step.graph for step in self.steps.values()]
        labels = {"grid": torch.tensor([self.level, self.num_spheres, self.kernel_size])}
        with atomic_write(path) as temporary:
            require_dgl().save_graphs(str(temporary), graphs, labels)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConcentricGrid:
        """Read a grid that :meth:`save` wrote.

        Raises
        ------
        InputError
            If the file is missing or is not such a file.
        """
        if not os.path.isfile(path):
            raise InputError(f"{path}: there is no such file; write one with ConcentricGrid.save")
        try:
            labels = require_dgl().data.utils.load_labels(str(path))
            level, num_spheres, kernel_size = (int(value) for value in labels["grid"])
        except (KeyError, ValueError, RuntimeError, require_dgl().DGLError) as error:
            raise InputError(f"{path}: not a file that ConcentricGrid.save wrote") from error
        return cls(level, num_spheres, kernel_size)

    def __reduce__(self) -> tuple[type[ConcentricGrid], tuple[int, int, int]]:
        return ConcentricGrid, (self.level, self.num_spheres, self.kernel_size)

    def __repr__(self) -> str:
        lines = [f"ConcentricGrid(level={self.level}, num_spheres={self.num_spheres}, kernel_size={self.kernel_size})"]
        for level in reversed(self.levels):
            lines.append(f"  level {level.level}: {level.num_spheres} spheres x {level.num_vertices} vertices")
        return "\n".join(lines)
