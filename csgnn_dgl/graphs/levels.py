"""What a layer asks for structure: one level of the grid, or the step between two levels.

Both own their edges as tables, which are buffers made when the level is made, and a DGL graph of the same edges, made
when first asked for. The tables do not need dgl, so that a model runs where dgl is not installed. A bare DGL graph can
stand in for either. What is computed is what the DGL graph says, if there is one: once it is edited, it is read again.
"""

from __future__ import annotations

import copy
import sys
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from csgnn_dgl._compilers import asked_once, left_out, real_tensors
from csgnn_dgl.geometry.icosphere import icosphere, level_of
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL, concentric_heterograph
from csgnn_dgl.graphs.pooling import COARSE, FINE, POOL, pooling_graph
from csgnn_dgl.graphs.relation import PoolingRelation, Relation
from csgnn_dgl.graphs.summary import html_of
from csgnn_dgl.graphs.tables import check_grid_arguments, intra_edges, pooling_edges

if TYPE_CHECKING:
    import dgl
    from typing_extensions import Self

INTRA_EDGES, RADIAL_EDGES, POOL_EDGES = (NODE, INTRA, NODE), (NODE, RADIAL, NODE), (FINE, POOL, COARSE)
FORMATS = ["coo", "csr", "csc"]
MAX_SOURCES = 256
ANY_REACH = sys.maxsize


class _Structure(nn.Module, ABC):
    """Edges as tables, and as a DGL graph that is made when first asked for and obeyed once it is edited."""

    _edge_types: ClassVar[tuple[tuple[str, str, str], ...]]
    _graphs: ClassVar[str]
    _maker: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._graph: dgl.DGLGraph | None = None
        self._marks: list[tuple[Any, int]] = []

    @property
    def graph(self) -> dgl.DGLGraph:
        """The DGL graph, on the CPU unless it was given; the same one at every call.

        It may be edited: the layers then compute what it says. Only a compiled or exported model goes on with the
        edges that it was compiled with.
        """
        if self._graph is None:
            self._graph = self._build_graph()
            self._marks = _marks(self._graph)
        return self._graph

    @classmethod
    def of(cls, graph: Self | dgl.DGLGraph) -> Self:
        """Return `graph` itself, or the structure that says what a DGL graph does (read once, and again once edited).

        Parameters
        ----------
        graph
            Such a structure, or a DGL graph with the node and edge types of :func:`csgnn_dgl.concentric_heterograph`
            or :func:`csgnn_dgl.pooling_graph`. The edges of either may have been edited.

        Raises
        ------
        TypeError
            If `graph` is neither.
        ValueError
            If the vertices of a level are not those of concentric icospheres or its radial edges have no offsets, or
            if a coarse node of a step has no sources, or more than 256.
        """
        if isinstance(graph, cls):
            return cls._says(graph.graph) if graph._is_edited() else graph
        if not set(cls._edge_types) <= set(getattr(graph, "canonical_etypes", ())):
            edge_types = getattr(graph, "canonical_etypes", None)
            found = type(graph).__name__ if edge_types is None else f"a graph with the edge types {edge_types}"
            raise TypeError(
                f"expected a {cls.__name__} or a {cls._graphs}, not {found}; "
                f"{cls._maker}(level, num_spheres) builds one"
            )
        return cls._says(graph)

    @classmethod
    @left_out
    def _says(cls, graph: Any) -> Self:
        """Return the structure that says what a DGL graph does; the graph is read once, and again once edited."""
        if graph.batch_size > 1:
            raise ValueError(
                f"the graph is a batch of {graph.batch_size}; give one graph and let the batch ride beside the "
                "channels of the features (R, V, B, C)"
            )
        with real_tensors():
            marks = _marks(graph)
            if graph not in _READ or not _same(_READ[graph][0], marks):
                _READ[graph] = (marks, cls._read(graph))
            # What is kept must not keep the graph alive; what is handed out must.
            structure: Self = copy.copy(_READ[graph][1])
            structure._graph = _in_all_formats(graph)
            structure._marks = _marks(structure._graph)
        return structure

    @asked_once
    def _is_edited(self) -> bool:
        """Say whether there is a DGL graph that says something else than the tables; compilers ask once."""
        return self._graph is not None and not _same(self._marks, _marks(self._graph))

    @classmethod
    @abstractmethod
    def _read(cls, graph: dgl.DGLGraph) -> Self: ...

    @abstractmethod
    def _build_graph(self) -> dgl.DGLGraph: ...

    def _repr_html_(self) -> str:
        return html_of(self.graph, repr(self))

    def __getstate__(self) -> dict[str, Any]:
        graph = self._graph if self._is_edited() else None
        return self.__dict__ | {"_graph": graph, "_marks": []}


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

    _edge_types = (INTRA_EDGES, RADIAL_EDGES)
    _graphs, _maker = "DGL heterograph with 'intra' and 'radial' edges", "concentric_heterograph"

    def __init__(self, level: int, num_spheres: int, kernel_size: int = 3) -> None:
        super().__init__()
        check_grid_arguments(level, num_spheres, kernel_size)
        source, target = map(torch.from_numpy, intra_edges(level, 1))
        reach = kernel_size // 2 if kernel_size // 2 < num_spheres - 1 else ANY_REACH
        self._fill(level, num_spheres, kernel_size, reach, source, target, copies=num_spheres)
        self.to(torch.get_default_device())

    def relation(self, device: torch.device | str, self_loop: bool = False) -> Relation:
        """Return the intra edges on `device`, with or without an edge from each node to itself, which then is first."""
        level = ConcentricLevel.of(self)
        return (level.intra_and_self if self_loop else level.intra).on(device)

    def rings(self, device: torch.device | str) -> PoolingRelation:
        """Return the intra edges on `device` with what a maximum over neighbours needs; made when first asked for.

        Raises
        ------
        ValueError
            If an edited graph has a vertex without neighbours, or with more than 256.
        """
        level = ConcentricLevel.of(self)
        if level._rings is None:
            relation = level.intra
            degree = relation.offsets.diff().long()
            check_degrees(degree, "vertex", "its neighbours")
            target = torch.arange(len(degree), device=degree.device).repeat_interleave(degree)
            level._rings = PoolingRelation(relation.sources.long(), target, (len(degree), len(degree)))
        return level._rings.on(device)

    def has_radial_kernel(self, kernel_size: int) -> bool:
        """Say whether the radial edges that a kernel of this size reads are those of concentric icospheres, each once.

        It reads the edges with offsets up to ``kernel_size // 2``.
        """
        return kernel_size // 2 <= ConcentricLevel.of(self)._reach

    def _fill(
        self, level: int, num_spheres: int, kernel_size: int, reach: int, source: Tensor, target: Tensor, copies: int
    ) -> None:
        self.level = level
        self.num_spheres = num_spheres
        self.kernel_size = kernel_size
        self.num_vertices = icosphere(level).num_vertices
        self._reach = reach
        count = num_spheres * self.num_vertices // copies
        loops = torch.arange(count, device=source.device)
        self._rings: PoolingRelation | None = None
        self.intra = Relation(source, target, (count, count), copies)
        self.intra_and_self = Relation(torch.cat([loops, source]), torch.cat([loops, target]), (count, count), copies)

    @classmethod
    def _read(cls, graph: dgl.DGLGraph) -> ConcentricLevel:
        sphere_level, num_spheres = _sizes(graph)
        offset = _offsets(graph)
        kernel_size = 2 * int(offset.abs().max()) + 1 if len(offset) else 1
        num_vertices = icosphere(sphere_level).num_vertices
        reach = _complete_reach(*_edges(graph, RADIAL_EDGES), offset, num_spheres, num_vertices)
        level = cls.__new__(cls)
        _Structure.__init__(level)
        level._fill(sphere_level, num_spheres, kernel_size, reach, *_edges(graph, INTRA_EDGES), copies=1)
        return level

    def __len__(self) -> int:
        """Return the number of vertices of all spheres."""
        return self.num_spheres * self.num_vertices

    def num_edges(self, kind: str) -> int:
        """Return the number of ``"intra"`` or ``"radial"`` edges that the level has.

        Raises
        ------
        KeyError
            If there is no such kind.
        """
        if kind not in (INTRA, RADIAL):
            raise KeyError(f"{kind!r} is no kind of edge; give {INTRA!r} or {RADIAL!r}")
        if self._graph is not None:
            return int(self._graph.num_edges(kind))
        if kind == INTRA:
            return 2 * self.num_spheres * len(icosphere(self.level).edges)
        reach = min(self.kernel_size // 2, self.num_spheres - 1)
        return 2 * self.num_vertices * sum(self.num_spheres - offset for offset in range(1, reach + 1))

    def _build_graph(self) -> dgl.DGLGraph:
        return concentric_heterograph(self.level, self.num_spheres, self.kernel_size)

    def __repr__(self) -> str:
        return (
            f"ConcentricLevel(level={self.level}, num_spheres={self.num_spheres}, kernel_size={self.kernel_size}): "
            f"{self.num_spheres} x {self.num_vertices} vertices"
        )


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

    _edge_types = (POOL_EDGES,)
    _graphs, _maker = "DGL graph fine -pool-> coarse", "pooling_graph"

    def __init__(self, level: int, num_spheres: int) -> None:
        super().__init__()
        check_grid_arguments(level, num_spheres, coarsest=1)
        self.level = level
        self.num_spheres = num_spheres
        fine, coarse = icosphere(level).num_vertices, icosphere(level - 1).num_vertices
        self.num_fine, self.num_coarse = num_spheres * fine, num_spheres * coarse
        source, target = map(torch.from_numpy, pooling_edges(level, 1))
        self.edges = PoolingRelation(source, target, (fine, coarse), num_spheres)
        self.to(torch.get_default_device())

    def relation(self, device: torch.device | str) -> PoolingRelation:
        """Return the edges on `device`."""
        return PoolingLevel.of(self).edges.on(device)

    @classmethod
    def _read(cls, graph: dgl.DGLGraph) -> PoolingLevel:
        step = cls.__new__(cls)
        _Structure.__init__(step)
        step.num_fine, step.num_coarse = graph.num_nodes(FINE), graph.num_nodes(COARSE)
        source, target = _edges(graph, POOL_EDGES)
        check_degrees(torch.bincount(target, minlength=step.num_coarse), "coarse vertex", "fine vertices")
        order = torch.argsort(target, stable=True)
        step.edges = PoolingRelation(source[order], target[order], (step.num_fine, step.num_coarse))
        return step

    def _build_graph(self) -> dgl.DGLGraph:
        return pooling_graph(self.level, self.num_spheres)

    def __repr__(self) -> str:
        return f"PoolingLevel(level={self.level}, num_spheres={self.num_spheres}): {self.num_fine} -> {self.num_coarse}"


def check_degrees(degree: Tensor, noun: str, others: str) -> None:
    """Raise ValueError unless every target has as many sources, (targets,), as a maximum over them can have."""
    bad = ((degree < 1) | (degree > MAX_SOURCES)).nonzero()
    if len(bad):
        node = int(bad[0])
        raise ValueError(
            f"{noun} {node} has {int(degree[node])} edges from {others}; give each {noun} 1 to {MAX_SOURCES} of them"
        )


def _sizes(graph: dgl.DGLGraph) -> tuple[int, int]:
    """Return level and number of spheres of a heterograph, or raise ValueError."""
    sphere = graph.nodes[NODE].data.get("sphere")
    if sphere is None:
        raise ValueError(
            "the graph's vertices have no data 'sphere'; set graph.nodes['vertex'].data['sphere'] to the number of "
            "each vertex's sphere, as concentric_heterograph does"
        )
    count, num_spheres = len(sphere), len(sphere.unique())
    try:
        num_vertices = count // max(num_spheres, 1)
        level = level_of(num_vertices)
    except ValueError:
        level = None
    ordered = torch.arange(num_spheres).repeat_interleave(num_vertices)
    if level is None or not torch.equal(sphere.cpu().long(), ordered):
        raise ValueError(
            f"{count} nodes on {num_spheres} spheres are no concentric icospheres; keep all vertices of a sphere, in "
            "their order, and count the spheres from 0 (dgl.edge_subgraph does so with relabel_nodes=False)"
        )
    return level, num_spheres


def _complete_reach(source: Tensor, target: Tensor, offset: Tensor, num_spheres: int, num_vertices: int) -> int:
    """Return the largest reach within which the radial edges are those of concentric icospheres, each once."""
    for reach in sorted({*range(1, num_spheres), *offset.abs().unique().tolist()}):
        wanted = num_vertices * max(num_spheres - reach, 0)
        for value in (-reach, reach):
            here = offset == value
            co_radial = bool((source[here] - target[here] == value * num_vertices).all())
            if not co_radial or not len(target[here]) == len(target[here].unique()) == wanted:
                return reach - 1
    return ANY_REACH


def _offsets(graph: dgl.DGLGraph) -> Tensor:
    """Return the offsets of the radial edges of a heterograph on the CPU, or raise ValueError."""
    offset = graph.edges[RADIAL_EDGES].data.get("offset")
    if offset is None or (offset == 0).any():
        which = (
            "the radial edges have no" if offset is None else f"radial edge {int((offset == 0).nonzero()[0])} has no"
        )
        raise ValueError(
            f"{which} offset; set graph.edges['radial'].data['offset'] to the source's sphere minus the target's for "
            "every edge, which DGL forgets or makes 0 where edges are added or copied without their data"
        )
    return offset.cpu().long()


def _edges(graph: dgl.DGLGraph, edge_type: tuple[str, str, str]) -> tuple[Tensor, Tensor]:
    """Return sources and targets (E,) of the edges, on the CPU, in the order of their data."""
    source, target = _in_all_formats(graph).edges(etype=edge_type)
    return source.cpu().long(), target.cpu().long()


def _in_all_formats(graph: dgl.DGLGraph) -> dgl.DGLGraph:
    allowed = {name for names in graph.formats().values() for name in names}
    return graph if len(allowed) == len(FORMATS) else graph.formats(FORMATS)


def _marks(graph: dgl.DGLGraph) -> list[tuple[Any, int]]:
    """Return what is another object, or another version of it, once a graph was edited.

    Other edges give a DGL graph another index, its `_graph`.
    """
    data = [graph.nodes[kind].data.get("sphere") for kind in graph.ntypes]
    data += [graph.edges[kind].data.get("offset") for kind in graph.canonical_etypes]
    versions = [(column, 0 if column.is_inference() else column._version) for column in data if column is not None]
    return [(graph._graph, 0), *versions]


def _same(marks: list[tuple[Any, int]], others: list[tuple[Any, int]]) -> bool:
    pairs = zip(marks, others, strict=True)
    return len(marks) == len(others) and all(a is b and x == y for (a, x), (b, y) in pairs)


_READ: weakref.WeakKeyDictionary[Any, tuple[list[tuple[Any, int]], Any]] = weakref.WeakKeyDictionary()
"""For each DGL graph that was read its marks and the structure, without the graph itself."""
