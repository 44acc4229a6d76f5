"""What a layer asks for structure: one level of the grid, or the step between two levels.

Both own a DGL graph, built when first asked for, and the same edges as tables on every device that asked. The tables do
not need dgl, so that a model runs where dgl is not installed. A bare DGL graph can stand in for either.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from csgnn_dgl.geometry.icosphere import icosphere, level_of
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL, concentric_heterograph
from csgnn_dgl.graphs.pooling import COARSE, FINE, POOL, pooling_graph
from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.graphs.tables import check_grid_arguments, intra_edges, pooling_edges

if TYPE_CHECKING:
    import dgl

Edges = tuple[torch.Tensor, torch.Tensor, tuple[int, int]]
"""Sources, targets, and the numbers of source and target nodes."""


class _Structure(ABC):
    """A DGL graph with one relation, cached by device; pickles without its caches."""

    @cached_property
    def graph(self) -> dgl.DGLGraph:
        """The DGL graph, on the CPU."""
        return self._build_graph()

    def relation(self, device: torch.device | str, self_loop: bool = False) -> Relation:
        """Return the edges that the fast sums need, on `device`, with or without an edge from each node to itself."""
        key = (str(torch.device(device)), self_loop)
        if key not in self._relations:
            source, target, shape = self._edges()
            if self_loop:
                loops = torch.arange(shape[0])
                source, target = torch.cat([loops, source]), torch.cat([loops, target])
            self._relations[key] = Relation.from_edges(source, target, shape).to(device)
        return self._relations[key]

    @cached_property
    def _relations(self) -> dict[tuple[str, bool], Relation]:
        return {}

    @abstractmethod
    def _build_graph(self) -> dgl.DGLGraph: ...

    @abstractmethod
    def _edges(self) -> Edges: ...

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("graph", "_relations")}


class ConcentricLevel(_Structure):
    """R concentric icospheres of one level: ``graph`` is the heterograph, ``relation`` its intra edges.

    Parameters
    ----------
    level, num_spheres, kernel_size
        As in :func:`csgnn_dgl.concentric_heterograph`.

    Raises
    ------
    ValueError
        As there.
    """

    def __init__(self, level: int, num_spheres: int, kernel_size: int = 3) -> None:
        check_grid_arguments(level, num_spheres, kernel_size)
        self.level = level
        self.num_spheres = num_spheres
        self.kernel_size = kernel_size
        self.num_vertices = icosphere(level).num_vertices

    @classmethod
    def of(cls, graph: ConcentricLevel | dgl.DGLGraph) -> ConcentricLevel:
        """Return `graph` itself, or the level that owns a bare heterograph (read once, and again once edited).

        Parameters
        ----------
        graph
            A level, or a DGL heterograph with the node and edge types of ``concentric_heterograph``; its edges may
            have been edited.

        Raises
        ------
        TypeError
            If `graph` is neither.
        """
        if isinstance(graph, ConcentricLevel):
            return graph
        if not hasattr(graph, "canonical_etypes") or {INTRA, RADIAL} - set(graph.etypes):
            raise TypeError(
                "expected a ConcentricLevel or a DGL heterograph with 'intra' and 'radial' edges, "
                f"not {_describe(graph)}; concentric_heterograph(level, num_spheres) builds one"
            )
        if graph not in _LEVELS_OF_GRAPHS or _LEVELS_OF_GRAPHS[graph].index is not graph._graph:
            _LEVELS_OF_GRAPHS[graph] = _GivenLevel(graph)
        return _LEVELS_OF_GRAPHS[graph]

    def has_radial_kernel(self, kernel_size: int) -> bool:
        """Say whether all co-radial edges that a kernel of this size reads are present."""
        return min(kernel_size // 2, self.num_spheres - 1) <= self.kernel_size // 2

    def _build_graph(self) -> dgl.DGLGraph:
        return concentric_heterograph(self.level, self.num_spheres, self.kernel_size)

    def _edges(self) -> Edges:
        count = self.num_spheres * self.num_vertices
        source, target = intra_edges(self.level, self.num_spheres)
        return torch.from_numpy(source), torch.from_numpy(target), (count, count)

    def __repr__(self) -> str:
        return (
            f"ConcentricLevel(level={self.level}, num_spheres={self.num_spheres}, kernel_size={self.kernel_size}): "
            f"{self.num_spheres} x {self.num_vertices} vertices"
        )


class _GivenLevel(ConcentricLevel):
    """A level whose edges are what a user's heterograph says."""

    def __init__(self, graph: dgl.DGLGraph) -> None:
        count = graph.num_nodes(NODE)
        num_spheres = int(graph.nodes[NODE].data["sphere"].max()) + 1
        self._offset_counts = torch.bincount(
            graph.edges[RADIAL].data["offset"].cpu() + num_spheres, minlength=2 * num_spheres + 1
        )
        offsets = self._offset_counts.nonzero() - num_spheres
        if count % num_spheres:
            raise ValueError(f"{count} nodes on {num_spheres} spheres are no concentric icospheres")
        reach = int(offsets.abs().max()) if len(offsets) else 0
        super().__init__(level_of(count // num_spheres), num_spheres, 2 * reach + 1)
        self._given, self.index = weakref.ref(graph), graph._graph

    def has_radial_kernel(self, kernel_size: int) -> bool:
        """Count the edges of each offset: an edited graph may lack some."""
        reach = min(kernel_size // 2, self.num_spheres - 1)
        return all(
            int(self._offset_counts[self.num_spheres + offset]) == self.num_vertices * (self.num_spheres - abs(offset))
            for offset in range(-reach, reach + 1)
            if offset != 0
        )

    @property
    def graph(self) -> dgl.DGLGraph:
        """The user's graph."""
        return self._given()

    def _edges(self) -> Edges:
        count = self.num_spheres * self.num_vertices
        source, target = self.graph.cpu().edges(etype=INTRA)
        return source, target, (count, count)


class PoolingLevel(_Structure):
    """The step from `level` to `level` - 1: ``graph`` is the bipartite graph, ``relation`` its edges.

    Parameters
    ----------
    level, num_spheres
        As in :func:`csgnn_dgl.pooling_graph`.

    Raises
    ------
    ValueError
        As there.
    """

    def __init__(self, level: int, num_spheres: int) -> None:
        check_grid_arguments(level, num_spheres, coarsest=1)
        self.level = level
        self.num_spheres = num_spheres
        self.num_fine = num_spheres * icosphere(level).num_vertices
        self.num_coarse = num_spheres * icosphere(level - 1).num_vertices

    @classmethod
    def of(cls, graph: PoolingLevel | dgl.DGLGraph) -> PoolingLevel:
        """Return `graph` itself, or the step that owns a bare bipartite graph (read once, and again once edited).

        Raises
        ------
        TypeError
            If `graph` is neither a step nor a DGL graph ``fine -pool-> coarse``.
        """
        if isinstance(graph, PoolingLevel):
            return graph
        if not hasattr(graph, "canonical_etypes") or (FINE, POOL, COARSE) not in graph.canonical_etypes:
            raise TypeError(
                f"expected a PoolingLevel or a DGL graph fine -pool-> coarse, not {_describe(graph)}; "
                "pooling_graph(level, num_spheres) builds one"
            )
        if graph not in _STEPS_OF_GRAPHS or _STEPS_OF_GRAPHS[graph].index is not graph._graph:
            _STEPS_OF_GRAPHS[graph] = _GivenStep(graph)
        return _STEPS_OF_GRAPHS[graph]

    def _build_graph(self) -> dgl.DGLGraph:
        return pooling_graph(self.level, self.num_spheres)

    def _edges(self) -> Edges:
        source, target = pooling_edges(self.level, self.num_spheres)
        return torch.from_numpy(source), torch.from_numpy(target), (self.num_fine, self.num_coarse)

    def __repr__(self) -> str:
        return f"PoolingLevel(level={self.level}, num_spheres={self.num_spheres}): {self.num_fine} -> {self.num_coarse}"


class _GivenStep(PoolingLevel):
    """A step whose edges are what a user's bipartite graph says."""

    def __init__(self, graph: dgl.DGLGraph) -> None:
        self.num_fine, self.num_coarse = graph.num_nodes(FINE), graph.num_nodes(COARSE)
        self._given, self.index = weakref.ref(graph), graph._graph

    @property
    def graph(self) -> dgl.DGLGraph:
        """The user's graph."""
        return self._given()

    def _edges(self) -> Edges:
        source, target = self.graph.cpu().edges(etype=POOL)
        return source, target, (self.num_fine, self.num_coarse)


def _describe(graph: object) -> str:
    edge_types = getattr(graph, "canonical_etypes", None)
    return type(graph).__name__ if edge_types is None else f"a graph with the edge types {edge_types}"


# Editing a DGL graph in place gives it another index (its `_graph`): what was read of the old one is then forgotten.
_LEVELS_OF_GRAPHS: weakref.WeakKeyDictionary[Any, _GivenLevel] = weakref.WeakKeyDictionary()
_STEPS_OF_GRAPHS: weakref.WeakKeyDictionary[Any, _GivenStep] = weakref.WeakKeyDictionary()
