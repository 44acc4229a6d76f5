"""The concentric heterograph and the pooling graph against the definition, edge by edge."""

import networkx
import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.graphs import concentric_heterograph, from_networkx, pooling_graph, to_networkx
from tests.tolerances import ROUNDED

SIZES = [(0, 1, 3), (1, 3, 3), (2, 4, 5), (1, 2, 7), (2, 3, 1)]


def edge_set(graph, edge_type: str) -> set[tuple[int, int]]:
    source, target = graph.edges(etype=edge_type)
    pairs = set(zip(source.tolist(), target.tolist(), strict=True))
    assert len(pairs) == len(source)  # no edge twice
    return pairs


@pytest.mark.parametrize(("level", "num_spheres", "kernel_size"), SIZES)
def test_edges_are_those_of_the_definition(level: int, num_spheres: int, kernel_size: int) -> None:
    graph = concentric_heterograph(level, num_spheres, kernel_size)
    count = icosphere(level).num_vertices
    assert graph.ntypes == ["vertex"] and sorted(graph.etypes) == ["intra", "radial"]
    assert graph.num_nodes("vertex") == num_spheres * count
    intra = {
        (i * count + a, i * count + b)
        for i in range(num_spheres)
        for u, v in icosphere(level).edges.tolist()
        for a, b in ((u, v), (v, u))
    }
    assert edge_set(graph, "intra") == intra
    radial = {
        (i * count + u, j * count + u)
        for i in range(num_spheres)
        for j in range(num_spheres)
        for u in range(count)
        if 1 <= abs(i - j) <= kernel_size // 2
    }
    assert edge_set(graph, "radial") == radial
    source, target = graph.edges(etype="radial")
    np.testing.assert_array_equal(graph.edges["radial"].data["offset"], source // count - target // count)


def test_node_data_say_where_each_vertex_is() -> None:
    data = concentric_heterograph(2, 5).nodes["vertex"].data
    sphere = torch.arange(5).repeat_interleave(162)
    assert torch.equal(data["sphere"], sphere)
    torch.testing.assert_close(data["radius"], (sphere + 1) / 5, **ROUNDED)
    torch.testing.assert_close(data["position"].norm(dim=1), data["radius"], **ROUNDED)
    expected = torch.tensor(icosphere(2).vertices).float().repeat(5, 1)
    torch.testing.assert_close(data["position"] / data["radius"][:, None], expected, **ROUNDED)


@pytest.mark.parametrize(("level", "num_spheres"), [(1, 1), (2, 3), (3, 2)])
def test_pooling_reads_a_vertex_and_its_neighbours(level: int, num_spheres: int) -> None:
    graph = pooling_graph(level, num_spheres)
    fine, coarse = icosphere(level).num_vertices, icosphere(level - 1).num_vertices
    assert graph.canonical_etypes == [("fine", "pool", "coarse")]
    assert graph.num_nodes("fine") == num_spheres * fine and graph.num_nodes("coarse") == num_spheres * coarse
    members: set[tuple[int, int]] = {(u, u) for u in range(coarse)}
    for i, j in icosphere(level).edges.tolist():
        members |= {(a, b) for a, b in ((i, j), (j, i)) if b < coarse}
    expected = {(i * fine + v, i * coarse + u) for i in range(num_spheres) for v, u in members}
    assert edge_set(graph, "pool") == expected


@pytest.mark.parametrize(("level", "num_spheres", "kernel_size"), SIZES)
def test_networkx_round_trip(level: int, num_spheres: int, kernel_size: int) -> None:
    graph = concentric_heterograph(level, num_spheres, kernel_size)
    there = to_networkx(graph)
    assert isinstance(there, networkx.MultiDiGraph)
    back = from_networkx(there)
    for edge_type in ("intra", "radial"):
        assert edge_set(back, edge_type) == edge_set(graph, edge_type)
    for name, values in graph.nodes["vertex"].data.items():
        assert torch.equal(back.nodes["vertex"].data[name], values)
    source, target = back.edges(etype="radial")
    count = icosphere(level).num_vertices
    assert torch.equal(back.edges["radial"].data["offset"], source // count - target // count)


def test_networkx_graphs_that_cannot_be_kept_are_refused() -> None:
    graph = concentric_heterograph(0, 2)
    graph.add_edges(torch.tensor([3]), torch.tensor([15]), {"offset": torch.tensor([1])}, etype="radial")
    with pytest.raises(ValueError, match="'radial' edge is there twice; make one of them with dgl.to_simple"):
        to_networkx(graph)
    there = to_networkx(concentric_heterograph(0, 2))
    there.add_edge(0, 5)
    with pytest.raises(ValueError, match="an edge has the key 1; give each edge the key 'intra' or 'radial'"):
        from_networkx(there)
    there.remove_node(7)
    with pytest.raises(ValueError, match="the nodes must be 0 to N - 1, each with position, radius and sphere"):
        from_networkx(there)


def test_networkx_sees_connected_spheres_joined_by_radial_edges() -> None:
    joined = to_networkx(concentric_heterograph(1, 3)).to_undirected()
    assert networkx.is_connected(joined)
    apart = to_networkx(concentric_heterograph(1, 3, kernel_size=1)).to_undirected()
    assert networkx.number_connected_components(apart) == 3
    assert networkx.check_planarity(networkx.Graph(apart))[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 2), "level must be an integer of at least 0, not -1"),
        ((1, 0), "num_spheres must be an integer of at least 1, not 0"),
        ((1, 2, 4), "kernel_size must be an odd integer of at least 1, not 4"),
        ((1, 2.0), "num_spheres must be an integer"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        concentric_heterograph(*arguments)
    with pytest.raises(ValueError, match="level must be an integer of at least 1"):
        pooling_graph(0, 2)
