"""The hierarchy: one source of structure for the graphs and for the tables of the fast forms."""

import copy
import gc
import pickle
from pathlib import Path

import pytest
import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.graphs import (
    ConcentricGrid,
    ConcentricLevel,
    PoolingLevel,
    Relation,
    concentric_heterograph,
    pooling_graph,
)
from csgnn_dgl.graphs.levels import _LEVELS_OF_GRAPHS


def edges_of(relation: Relation) -> list[tuple[int, int]]:
    targets = torch.repeat_interleave(torch.arange(len(relation.offsets) - 1), relation.offsets.diff())
    return list(zip(relation.sources.tolist(), targets.tolist(), strict=True))


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
    assert sorted((t, s) for s, t in edges_of(relation.reverse)) == sorted(wanted)
    assert level.relation("cpu", self_loop) is relation and relation.sources.dtype == torch.int32


def test_the_relation_of_a_step_has_the_edges_of_the_bipartite_graph() -> None:
    step = PoolingLevel(2, 3)
    source, target = step.graph.edges()
    wanted = sorted(zip(source.tolist(), target.tolist(), strict=True))
    assert sorted(edges_of(step.relation("cpu"))) == wanted
    assert sorted((t, s) for s, t in edges_of(step.relation("cpu").reverse)) == wanted


def test_tables_go_to_any_device() -> None:
    assert ConcentricLevel(1, 2).relation("meta").sources.device.type == "meta"


def test_pickling_and_copying_keep_the_structure_and_drop_the_caches() -> None:
    grid = ConcentricGrid(2, 3)
    fresh = len(pickle.dumps(grid))
    grid.graph(2), grid.levels[2].relation("cpu")
    assert len(pickle.dumps(grid)) == fresh < 500
    for twin in (pickle.loads(pickle.dumps(grid)), copy.deepcopy(grid)):
        assert (twin.level, twin.num_spheres, twin.kernel_size) == (2, 3, 3)
        assert torch.equal(twin.graph(2).edges(etype="intra")[0], grid.graph(2).edges(etype="intra")[0])
    level = pickle.loads(pickle.dumps(grid.levels[2]))
    assert sorted(edges_of(level.relation("cpu"))) == sorted(edges_of(grid.levels[2].relation("cpu")))


def test_saved_graphs_are_dgl_graphs_and_load_again(tmp_path: Path) -> None:
    import dgl

    path = tmp_path / "grid.bin"
    ConcentricGrid(2, 3, 5).save(path)
    graphs, _ = dgl.load_graphs(str(path))
    assert [graph.num_nodes("vertex") for graph in graphs[:3]] == [36, 126, 486]
    assert [graph.num_nodes("coarse") for graph in graphs[3:]] == [36, 126]
    assert torch.equal(
        graphs[2].edges["radial"].data["offset"],
        concentric_heterograph(2, 3, 5).edges["radial"].data["offset"],
    )
    assert repr(ConcentricGrid.load(path)) == repr(ConcentricGrid(2, 3, 5))
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.bin"]


def test_unusable_grid_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing.bin: there is no such file"):
        ConcentricGrid.load(tmp_path / "missing.bin")
    (tmp_path / "other.bin").write_bytes(b"something else" * 20)
    with pytest.raises(InputError, match="other.bin: not a file that ConcentricGrid.save wrote"):
        ConcentricGrid.load(tmp_path / "other.bin")


def test_a_bare_heterograph_is_read_once_and_let_go() -> None:
    graph = concentric_heterograph(2, 4, kernel_size=5)
    level = ConcentricLevel.of(graph)
    assert ConcentricLevel.of(graph) is level and level.graph is graph
    assert (level.level, level.num_spheres, level.kernel_size, level.num_vertices) == (2, 4, 5, 162)
    own = ConcentricLevel(2, 4, 5)
    assert ConcentricLevel.of(own) is own
    assert sorted(edges_of(level.relation("cpu"))) == sorted(edges_of(own.relation("cpu")))
    before = len(_LEVELS_OF_GRAPHS)
    del graph, level
    gc.collect()
    assert len(_LEVELS_OF_GRAPHS) == before - 1


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
