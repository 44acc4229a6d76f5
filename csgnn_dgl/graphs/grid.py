"""The hierarchy of levels that a model works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from torch import nn

from csgnn_dgl.graphs.levels import ConcentricLevel, PoolingLevel
from csgnn_dgl.graphs.summary import html_table, size_text
from csgnn_dgl.graphs.tables import check_grid_arguments

if TYPE_CHECKING:
    import dgl


class ConcentricGrid(nn.Module):
    """Concentric icospheres at every level from the finest to the icosahedron (Fig. 1), with the pooling between them.

    The edges are buffers, which follow the model to its device and are in no ``state_dict``. The DGL graphs are made
    when first asked for.

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
        super().__init__()
        check_grid_arguments(level, num_spheres, kernel_size)
        self.level = level
        self.num_spheres = num_spheres
        self.kernel_size = kernel_size
        levels = nn.ModuleList(ConcentricLevel(lower, num_spheres, kernel_size) for lower in range(level + 1))
        steps = nn.ModuleList(PoolingLevel(upper, num_spheres) for upper in range(1, level + 1))
        self.levels, self._steps = cast("Sequence[ConcentricLevel]", levels), cast("Sequence[PoolingLevel]", steps)

    @property
    def steps(self) -> dict[int, PoolingLevel]:
        """``steps[l]`` is the :class:`PoolingLevel` from l to l - 1, for l from 1 to `level`."""
        return dict(enumerate(self._steps, start=1))

    def graph(self, level: int) -> dgl.DGLGraph:
        """Return the heterograph of one level, as made by :func:`csgnn_dgl.concentric_heterograph`."""
        return self.levels[level].graph

    def pooling(self, level: int) -> dgl.DGLGraph:
        """Return the bipartite graph from `level` to `level` - 1, as made by :func:`csgnn_dgl.pooling_graph`."""
        return self.steps[level].graph

    def __repr__(self) -> str:
        lines = [f"ConcentricGrid(level={self.level}, num_spheres={self.num_spheres}, kernel_size={self.kernel_size})"]
        for level in reversed(self.levels):
            lines.append(f"  level {level.level}: {level.num_spheres} spheres x {level.num_vertices} vertices")
        return "\n".join(lines)

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.levels)

    def __iter__(self) -> Iterator[ConcentricLevel]:
        """Go over the levels, from the icosahedron to the finest."""
        return iter(self.levels)

    def _repr_html_(self) -> str:
        rows = [
            (
                str(level.level),
                f"{level.num_spheres} × {level.num_vertices:,} = {len(level):,}",
                f"{level.num_edges('intra'):,}",
                f"{level.num_edges('radial'):,}",
                size_text(level),
            )
            for level in reversed(self.levels)
        ]
        radii = f"radii 1/{self.num_spheres} to 1, radial kernels up to {self.kernel_size}"
        title = f"ConcentricGrid, {len(self)} levels, {radii}"
        return html_table(title, ("level", "vertices", "intra edges", "radial edges", "tables"), rows)
