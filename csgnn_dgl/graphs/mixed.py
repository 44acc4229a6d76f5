"""Concentric spheres of different levels: each sphere has as many vertices as its radius asks for.

Icospheres are nested: the vertices of a coarse one are the first vertices of every finer one. So a sphere reads from a
finer one at the very same directions, and from a coarser one at its vertices and, between them, at the middles of
edges, which stand for the mean of their ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.errors import check_counts
from csgnn_dgl.geometry.icosphere import icosphere
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL
from csgnn_dgl.graphs.pooling import COARSE, FINE, POOL
from csgnn_dgl.graphs.relation import PoolingRelation, Relation
from csgnn_dgl.graphs.tables import check_kernel_size, intra_edges, pooling_edges

if TYPE_CHECKING:
    import dgl


def levels_by_radius(level: int, num_spheres: int) -> tuple[int, ...]:
    """Return the level of each of R spheres at the radii 1/R, ..., 1, such that vertices are about as far apart on all.

    A sphere of half the radius is one level coarser than the outermost, which has `level`; none is below 0.

    Parameters
    ----------
    level
        Level of the outermost sphere.
    num_spheres
        Number of spheres R.

    Returns
    -------
    tuple of int
        The levels, the innermost first.
    """
    check_counts(0, level=level)
    check_counts(num_spheres=num_spheres)
    steps = (round(math.log2(sphere / num_spheres)) for sphere in range(1, num_spheres + 1))
    return tuple(max(level + step, 0) for step in steps)


def parents(level: int) -> Tensor:
    """Return the ends (V(l) - V(l - 1), 2) of the edges of level l - 1 in whose middles are the new vertices of l."""
    coarse, fine = icosphere(level - 1), icosphere(level)
    old = coarse.num_vertices
    neighbours = fine.neighbours[old:]
    ends = np.where((neighbours >= 0) & (neighbours < old), neighbours, old)
    return torch.from_numpy(np.sort(ends, axis=1)[:, :2].copy())


class MixedLevel(nn.Module):
    """Concentric icospheres that each have a level of their own; ``graph`` is their heterograph.

    Parameters
    ----------
    levels
        Level of each sphere, from the innermost.
    kernel_size
        Odd size K of the largest radial kernel.

    Attributes
    ----------
    sizes
        Number of vertices of each sphere. Nodes are counted sphere by sphere.
    intra_and_self, intra
        The intra edges as a :class:`~csgnn_dgl.graphs.Relation`, with and without one from each node to itself.

    Raises
    ------
    ValueError
        If there are no spheres, a level is negative or `kernel_size` is not odd.

    Examples
    --------
    >>> level = MixedLevel([1, 2, 2])
    >>> level.sizes, level.num_nodes
    ((42, 162, 162), 366)
    """

    def __init__(self, levels: Sequence[int], kernel_size: int = 3) -> None:
        super().__init__()
        if not levels:
            raise ValueError("there are no levels; give one for each sphere, from the innermost")
        for own in levels:
            check_counts(0, levels=own)
        check_kernel_size(kernel_size)
        self.levels, self.kernel_size = tuple(int(own) for own in levels), int(kernel_size)
        self.num_spheres = len(self.levels)
        self.sizes = tuple(icosphere(own).num_vertices for own in self.levels)
        self.num_nodes = sum(self.sizes)
        self.starts = tuple(int(start) for start in np.cumsum([0, *self.sizes[:-1]]))
        source, target = self._intra_edges()
        loops = torch.arange(self.num_nodes)
        shape = self.num_nodes, self.num_nodes
        self.intra = Relation(source, target, shape)
        self.intra_and_self = Relation(torch.cat([loops, source]), torch.cat([loops, target]), shape)
        for own in range(1, max(self.levels) + 1):
            self.register_buffer(f"parents_{own}", parents(own), persistent=False)
        self._graph: dgl.DGLGraph | None = None

    def split(self, features: Tensor) -> tuple[Tensor, ...]:
        """Return node features (nodes, ...) sphere by sphere."""
        return features.split(self.sizes)

    def on_level(self, features: Tensor, own: int, wanted: int) -> Tensor:
        """Return features (V(own), ...) of a sphere at the vertices of another level: (V(wanted), ...).

        Coarser vertices are among the finer ones; at finer ones, edge by edge, stands the mean of the ends.
        """
        if wanted <= own:
            return features[: 10 * 4**wanted + 2]
        for level in range(own + 1, wanted + 1):
            first, second = getattr(self, f"parents_{level}").unbind(dim=1)
            middles = (features.index_select(0, first) + features.index_select(0, second)) / 2
            features = torch.cat([features, middles])
        return features

    def shifted(self, features: Tensor, offset: int) -> Tensor:
        """Return for each node (nodes, ...) what stands on its own ray, `offset` spheres further out; beyond them 0."""
        spheres, result = self.split(features), []
        for place, level in enumerate(self.levels):
            other = place + offset
            if 0 <= other < self.num_spheres:
                result.append(self.on_level(spheres[other], self.levels[other], level))
            else:
                result.append(torch.zeros_like(spheres[place]))
        return torch.cat(result)

    @property
    def graph(self) -> dgl.DGLGraph:
        """The DGL heterograph, made when first asked for; see :func:`mixed_heterograph`."""
        if self._graph is None:
            self._graph = self._build_graph()
        return self._graph

    def _intra_edges(self) -> tuple[Tensor, Tensor]:
        pairs = [intra_edges(own, 1) for own in self.levels]
        moved = [
            [torch.from_numpy(table) + start for table in pair] for pair, start in zip(pairs, self.starts, strict=True)
        ]
        return torch.cat([pair[0] for pair in moved]), torch.cat([pair[1] for pair in moved])

    def _build_graph(self) -> dgl.DGLGraph:
        dgl = require_dgl()
        device = self.intra.sources.device
        radial = [self._radial_edges(offset) for offset in self.offsets]
        empty = torch.zeros(0, dtype=torch.int64)
        source, target = (torch.cat([empty, *(edges[end] for edges in radial)]) for end in (0, 1))
        weight = torch.cat([torch.zeros(0), *(edges[2] for edges in radial)])
        counts = torch.tensor([len(edges[0]) for edges in radial], dtype=torch.int64)
        edges = {(NODE, INTRA, NODE): self._intra_edges(), (NODE, RADIAL, NODE): (source, target)}
        graph = dgl.heterograph(edges, num_nodes_dict={NODE: self.num_nodes})
        sphere = np.repeat(np.arange(self.num_spheres), self.sizes)
        radius = (sphere + 1) / self.num_spheres
        directions = np.concatenate([icosphere(own).vertices for own in self.levels])
        graph.nodes[NODE].data["position"] = torch.from_numpy(radius[:, None] * directions).float()
        graph.nodes[NODE].data["radius"] = torch.from_numpy(radius).float()
        graph.nodes[NODE].data["sphere"] = torch.from_numpy(sphere)
        graph.edges[RADIAL].data["offset"] = torch.tensor(self.offsets, dtype=torch.int64).repeat_interleave(counts)
        graph.edges[RADIAL].data["weight"] = weight
        return graph.to(device)

    @property
    def offsets(self) -> list[int]:
        """Offsets of the radial edges: source sphere minus target sphere, never 0."""
        reach = min(self.kernel_size // 2, self.num_spheres - 1)
        return [offset for offset in range(-reach, reach + 1) if offset]

    def _radial_edges(self, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return sources, targets and weights (E,) of the radial edges of an offset."""
        sources, targets, weights = [], [], []
        for place, level in enumerate(self.levels):
            other = place + offset
            if not 0 <= other < self.num_spheres:
                continue
            own = self.levels[other]
            read = torch.arange(icosphere(min(own, level)).num_vertices)
            at, weight = read, torch.ones(len(read))
            for finer in range(own + 1, level + 1):
                ends = parents(finer)
                new = torch.arange(icosphere(finer - 1).num_vertices, icosphere(finer).num_vertices)
                # A vertex in the middle of an edge reads what both ends read, at half the weight.
                halves = [_edges_of(ends[:, side], new, read, at, weight) for side in (0, 1)]
                read, at, weight = (torch.cat(parts) for parts in zip((read, at, weight), *halves, strict=True))
            sources.append(self.starts[other] + read)
            targets.append(self.starts[place] + at)
            weights.append(weight)
        return torch.cat(sources), torch.cat(targets), torch.cat(weights)

    def __repr__(self) -> str:
        return f"MixedLevel({list(self.levels)}, kernel_size={self.kernel_size}): {self.num_nodes} vertices"


def _edges_of(ends: Tensor, new: Tensor, read: Tensor, at: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return edges to the nodes `new` (N,) that read what the nodes `ends` (N,) read, at half the weight."""
    place, edge = (ends[:, None] == at).nonzero().unbind(dim=1)
    return read[edge], new[place], weight[edge] / 2


def mixed_heterograph(levels: Sequence[int], kernel_size: int = 3) -> dgl.DGLGraph:
    """Build the heterograph of concentric icospheres that each have a level of their own.

    Parameters
    ----------
    levels, kernel_size
        As in :class:`MixedLevel`; the spheres lie at the radii 1/R, ..., 1.

    Returns
    -------
    dgl.DGLGraph
        As that of :func:`csgnn_dgl.concentric_heterograph`, which it is for equal levels, with the edge data ``weight``
        (E,) of the ``radial`` edges: 1 between vertices on one ray; a vertex that a coarser sphere does not have reads
        the ends of the edge that it halves, at 1/2 each (at 1/4 and so on across several levels).
    """
    return MixedLevel(levels, kernel_size).graph


class MixedPooling(nn.Module):
    """The step that pools every sphere of a level above `coarsest` by one level, and leaves the others as they are.

    Parameters
    ----------
    levels
        Level of each sphere before the step.
    coarsest
        Level that no sphere is pooled below.

    Attributes
    ----------
    pooled
        Level of each sphere after the step.
    edges
        The neighbourhoods; a sphere that stays reads itself.

    Raises
    ------
    ValueError
        As :class:`MixedLevel` does.
    """

    def __init__(self, levels: Sequence[int], coarsest: int) -> None:
        super().__init__()
        fine = MixedLevel(levels, 1)
        check_counts(0, coarsest=coarsest)
        self.levels = fine.levels
        self.pooled = tuple(own - 1 if own > coarsest else own for own in self.levels)
        coarse_sizes = [icosphere(own).num_vertices for own in self.pooled]
        starts = np.cumsum([0, *coarse_sizes[:-1]])
        self.num_fine, self.num_coarse = fine.num_nodes, sum(coarse_sizes)
        sources, targets = [], []
        for old, new, first, start in zip(self.levels, self.pooled, fine.starts, starts, strict=True):
            same = np.arange(icosphere(old).num_vertices)
            read, at = pooling_edges(old, 1) if new < old else (same, same)
            sources.append(read + first)
            targets.append(at + start)
        source, target = (torch.from_numpy(np.concatenate(tables)) for tables in (sources, targets))
        self.edges = PoolingRelation(source, target, (self.num_fine, self.num_coarse))
        self._graph: dgl.DGLGraph | None = None

    @property
    def graph(self) -> dgl.DGLGraph:
        """The bipartite DGL graph ``fine -pool-> coarse``, made when first asked for."""
        if self._graph is None:
            dgl = require_dgl()
            target = torch.arange(self.num_coarse, device=self.edges.offsets.device)
            target = target.repeat_interleave(self.edges.offsets.diff().long())
            self._graph = dgl.heterograph(
                {(FINE, POOL, COARSE): (self.edges.sources.long(), target)},
                num_nodes_dict={FINE: self.num_fine, COARSE: self.num_coarse},
            )
        return self._graph
