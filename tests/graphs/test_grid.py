"""The hierarchy: one source of structure for the graphs and for the tables of the fast forms."""

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.graphs import (
    ConcentricGrid,
    ConcentricLevel,
    PoolingLevel,
    Relation,
    concentric_heterograph,
    pooling_graph,
)
from csgnn_dgl.graphs.levels import _READ


def edges_of(relation: Relation) -> list[tuple[int, int]]:
    """The edges (source, target) by target, which must be those by source."""
    targets = torch.repeat_interleave(torch.arange(len(relation.offsets) - 1), relation.offsets.diff())
    sources = torch.repeat_interleave(torch.arange(len(relation.reverse_offsets) - 1), relation.reverse_offsets.diff())
    edges = list(zip(relation.sources.tolist(), targets.tolist(), strict=True))
    assert sorted(zip(sources.tolist(), relation.targets.tolist(), strict=True)) == sorted(edges)
    return edges


def test_the_grid_owns_every_level_and_step() -> None:
    grid = ConcentricGrid(3, 4, kernel_size=5)
    assert [level.level for level in grid.levels] == [0, 1, 2, 3] and sorted(grid.steps) == [1, 2, 3]
    for index in range(4):
        expected = concentric_heterograph(index, 4, 5)
        assert grid.graph(index).num_nodes("vertex") == expected.num_nodes("vertex")
        for edge_type in ("intra", "radial"):
            for got, wanted in zip(
                grid.graph(index).edges(etype=edge_type), expected.edges(etype=edge_type), strict=True
            ):
                assert torch.equal(got, wanted)
    assert grid.graph(2) is grid.graph(2) and grid.pooling(3) is grid.pooling(3)
    assert grid.pooling(2).num_nodes("fine") == 4 * 162
    assert "level 3: 4 spheres x 642 vertices" in repr(grid)
    assert "4 x 42 vertices" in repr(grid.levels[1]) and "648 -> 168" in repr(grid.steps[2])


@pytest.mark.parametrize("self_loop", [False, True])
def test_the_relation_has_the_edges_of_the_graph(self_loop: bool) -> None:
    level = ConcentricLevel(2, 3)
    source, target = level.graph.edges(etype="intra")
    wanted = set(zip(source.tolist(), target.tolist(), strict=True))
    if self_loop:
        wanted |= {(node, node) for node in range(level.graph.num_nodes("vertex"))}
    relation = level.relation("cpu", self_loop)
    assert sorted(edges_of(relation)) == sorted(wanted)
    assert level.relation("cpu", self_loop) is relation and relation.sources.dtype == torch.int32


def test_the_relation_of_a_step_has_the_edges_of_the_bipartite_graph() -> None:
    step = PoolingLevel(2, 3)
    source, target = step.graph.edges()
    wanted = sorted(zip(source.tolist(), target.tolist(), strict=True))
    assert sorted(edges_of(step.relation("cpu"))) == wanted


def test_tables_are_buffers_from_the_beginning_and_in_no_state_dict() -> None:
    grid = ConcentricGrid(2, 3)
    names = dict(grid.named_buffers())
    assert "levels.2.intra_and_self.sources" in names and "_steps.1.edges.readers_table" in names
    assert grid.state_dict() == {} and not list(grid.parameters())
    assert all(not table.is_floating_point() for table in names.values())
    twin = copy.deepcopy(grid).to("meta")
    assert all(table.is_meta for table in twin.buffers())
    assert twin.levels[2].relation("meta") is twin.levels[2].intra


class SumOfNeighbours(nn.Module):
    """What a layer asks of a grid's level, of its own or of a given one."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = ConcentricGrid(1, 3)

    def forward(self, features: Tensor, graph: Any = None) -> Tensor:
        """Sum (126, M) over the neighbours."""
        level = ConcentricLevel.of(self.grid.levels[1] if graph is None else graph)
        relation, step = level.relation(features.device), PoolingLevel.of(self.grid.steps[1]).relation("cpu")
        assert level.has_radial_kernel(3)
        sums = nn.functional.embedding_bag(
            relation.sources, features, relation.offsets, mode="sum", include_last_offset=True
        )
        return sums[step.table].amax(dim=1)


def test_compilers_see_constants_and_leave_given_graphs_to_python() -> None:
    module, features = SumOfNeighbours(), torch.randn(126, 4)
    wanted = module(features)
    whole = torch.compile(module, backend="eager", fullgraph=True)
    assert torch.equal(whole(features), wanted)
    assert torch.equal(torch.export.export(module, (features,)).module()(features), wanted)
    module.grid.graph(1), module.grid.pooling(1)  # to have looked at them changes nothing
    assert torch.equal(whole(features), wanted)
    in_parts, graph = torch.compile(module, backend="eager"), concentric_heterograph(1, 3)
    for _ in range(2):
        assert torch.equal(in_parts(features, graph), module(features, graph))
        graph.remove_edges(torch.arange(9), etype="intra")
    module.grid.graph(1).remove_edges(torch.arange(200), etype="intra")
    torch._dynamo.reset()  # what is compiled goes on with the edges of then
    assert torch.equal(torch.compile(module, backend="eager")(features), module(features))
    assert not torch.equal(module(features), wanted)


def test_a_relation_elsewhere_is_made_once() -> None:
    level = ConcentricLevel(1, 2)
    there = level.relation("meta")
    assert there.sources.is_meta and there is level.relation("meta") is not level.intra
    assert not level.relation("cpu").sources.is_meta


def test_pickling_and_copying_keep_the_structure_and_drop_the_caches() -> None:
    grid = ConcentricGrid(2, 3)
    fresh = len(pickle.dumps(grid))
    grid.graph(2), grid.levels[2].relation("meta")
    assert len(pickle.dumps(grid)) == fresh
    for twin in (pickle.loads(pickle.dumps(grid)), copy.deepcopy(grid)):
        assert (twin.level, twin.num_spheres, twin.kernel_size) == (2, 3, 3)
        assert torch.equal(twin.graph(2).edges(etype="intra")[0], grid.graph(2).edges(etype="intra")[0])
        assert edges_of(twin.levels[2].relation("cpu")) == edges_of(grid.levels[2].relation("cpu"))
        assert edges_of(twin.steps[2].relation("cpu")) == edges_of(grid.steps[2].relation("cpu"))


def test_a_bare_heterograph_is_read_once_and_let_go() -> None:
    graph = concentric_heterograph(2, 4, kernel_size=5)
    level = ConcentricLevel.of(graph)
    assert ConcentricLevel.of(graph).intra is level.intra and level.graph is graph
    assert (level.level, level.num_spheres, level.kernel_size, level.num_vertices) == (2, 4, 5, 162)
    own = ConcentricLevel(2, 4, 5)
    assert ConcentricLevel.of(own) is own
    assert sorted(edges_of(level.relation("cpu"))) == sorted(edges_of(own.relation("cpu")))
    assert graph in _READ
    alive = weakref.ref(graph)
    del graph, level
    gc.collect()
    assert alive() is None


def test_an_edited_heterograph_is_taken_as_it_is() -> None:
    graph = concentric_heterograph(1, 3)
    graph.remove_edges(torch.arange(5), etype="intra")
    assert len(edges_of(ConcentricLevel.of(graph).relation("cpu"))) == graph.num_edges("intra")
    assert ConcentricLevel.of(graph).has_radial_kernel(3)
    graph.add_edges(torch.tensor([7]), torch.tensor([7]), etype="intra")
    assert (7, 7) in edges_of(ConcentricLevel.of(graph).relation("cpu"))
    step = pooling_graph(1, 2)
    assert len(edges_of(PoolingLevel.of(step).relation("cpu"))) == step.num_edges()
    step.remove_edges(torch.tensor([0]))
    assert len(edges_of(PoolingLevel.of(step).relation("cpu"))) == step.num_edges()
    graph = concentric_heterograph(1, 3)
    graph.remove_edges(torch.tensor([0]), etype="radial")
    assert not ConcentricLevel.of(graph).has_radial_kernel(3)
    assert ConcentricLevel.of(graph).has_radial_kernel(1)


def test_other_things_are_no_levels() -> None:
    with pytest.raises(TypeError, match="not str; concentric_heterograph"):
        ConcentricLevel.of("graph")
    with pytest.raises(TypeError, match="fine -pool-> coarse, not a graph with the edge types"):
        PoolingLevel.of(concentric_heterograph(1, 2))
    with pytest.raises(TypeError, match="not a graph with the edge types"):
        ConcentricLevel.of(pooling_graph(1, 2))
    graph = concentric_heterograph(1, 2)
    graph.remove_nodes(torch.tensor([0]), ntype="vertex")
    with pytest.raises(ValueError, match="83 nodes on 2 spheres are no concentric icospheres"):
        ConcentricLevel.of(graph)
