"""Edited graphs: every form computes what the edges say, like dense matrices made of them, or says why it cannot."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dgl
import pytest
import torch
from torch import Tensor

from csgnn_dgl.graphs import ConcentricGrid, concentric_heterograph, from_networkx, pooling_graph, to_networkx
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, RadialConv, SpherePool
from tests.forms import FORMS
from tests.tolerances import TOLERANCE

LEVEL, SPHERES, VERTICES = 1, 3, 42
KERNELS = (1, 3, 5)

Edit = Callable[[Any], Any]


def twisted(graph: Any) -> Any:
    """Let the radial edges that go outwards end at another vertex of the same sphere."""
    source, target = graph.edges(etype="radial")
    offset = graph.edges["radial"].data["offset"].clone()
    spheres, vertices = target // VERTICES, target % VERTICES
    turned = torch.where(offset < 0, spheres * VERTICES + (vertices + 1) % VERTICES, target)
    graph.remove_edges(torch.arange(len(source)), etype="radial")
    graph.add_edges(source, turned, {"offset": offset}, etype="radial")
    return graph


def duplicated(edge_type: str) -> Edit:
    def edit(graph: Any) -> Any:
        source, target = graph.edges(etype=edge_type)
        data = {name: values[:7] for name, values in graph.edges[edge_type].data.items()}
        graph.add_edges(source[:7], target[:7], data or None, etype=edge_type)
        return graph

    return edit


def without(edge_type: str) -> Edit:
    def edit(graph: Any) -> Any:
        graph.remove_edges(torch.arange(0, graph.num_edges(edge_type), 3), etype=edge_type)
        return graph

    return edit


def exchanged(graph: Any) -> Any:
    """Remove an edge and add another of the same offset: as many of each as before."""
    graph.remove_edges(torch.tensor([0]), etype="radial")
    offset = graph.edges["radial"].data["offset"][:1]
    source, target = graph.edges(etype="radial")
    graph.add_edges(source[:1], target[:1], {"offset": offset}, etype="radial")
    return graph


def joined(graph: Any) -> Any:
    """Add intra edges between spheres, and from a vertex to itself."""
    graph.add_edges(torch.tensor([0, 7, 100]), torch.tensor([100, 7, 3]), etype="intra")
    return graph


def flipped(graph: Any) -> Any:
    graph.edges["radial"].data["offset"] = -graph.edges["radial"].data["offset"]
    return graph


def flipped_in_place(graph: Any) -> Any:
    graph.edges["radial"].data["offset"][5:9].neg_()
    return graph


def farther(graph: Any) -> Any:
    """Add radial edges with larger offsets than the graph was built for."""
    source = torch.arange(VERTICES)
    graph.add_edges(source, source + 2 * VERTICES, {"offset": torch.full((VERTICES,), -2)}, etype="radial")
    return graph


def reversed_(graph: Any) -> Any:
    result = dgl.reverse(graph, copy_edata=True)
    return flipped(result)


def homogeneous_and_back(graph: Any) -> Any:
    result = dgl.to_heterogeneous(dgl.to_homogeneous(graph, ndata=["sphere"]), graph.ntypes, graph.etypes)
    edges = result.edges["radial"].data[dgl.EID] - graph.num_edges("intra")
    result.edges["radial"].data["offset"] = graph.edges["radial"].data["offset"][edges]
    return result


def saved(graph: Any, folder: Path) -> Any:
    dgl.save_graphs(str(folder / "graph.bin"), [graph])
    return dgl.load_graphs(str(folder / "graph.bin"))[0][0]


OBEYED: dict[str, Edit] = {
    "as built": lambda graph: graph,
    "intra edges removed": without("intra"),
    "intra edges twice": duplicated("intra"),
    "intra edges added": joined,
    "radial edges removed": without("radial"),
    "radial edges twice": duplicated("radial"),
    "a radial edge in another's place": exchanged,
    "radial edges twisted": twisted,
    "radial edges with the other sign": flipped,
    "the other sign in place": flipped_in_place,
    "farther radial edges": farther,
    "all radial edges of an offset removed": lambda graph: dgl.remove_edges(
        graph, (graph.edges["radial"].data["offset"] == 1).nonzero().flatten(), etype="radial"
    ),
    "reversed": reversed_,
    "reversed with the old offsets": lambda graph: dgl.reverse(graph, copy_edata=True),
    "csc": lambda graph: graph.formats("csc"),
    "csr": lambda graph: graph.formats("csr"),
    "coo": lambda graph: graph.formats("coo"),
    "edited csc": lambda graph: twisted(without("intra")(graph)).formats("csc"),
    "int32": lambda graph: graph.int(),
    "edge subgraph": lambda graph: dgl.edge_subgraph(
        graph, {"intra": torch.arange(9, 90), "radial": torch.arange(4, 50)}, relabel_nodes=False
    ),
    "the inner spheres": lambda graph: dgl.node_subgraph(graph, torch.arange(2 * VERTICES)),
    "vertices renumbered within a sphere": lambda graph: dgl.node_subgraph(
        graph, torch.cat([torch.randperm(VERTICES), torch.arange(VERTICES, 3 * VERTICES)])
    ),
    "simple": lambda graph: dgl.to_simple(duplicated("intra")(graph), copy_edata=True),
    "homogeneous and back": homogeneous_and_back,
    "networkx and back": lambda graph: from_networkx(to_networkx(without("intra")(twisted(graph)))),
    "pickled": lambda graph: pickle.loads(pickle.dumps(twisted(graph))),
    "cloned": lambda graph: twisted(graph).clone(),
}


def matrices(graph: Any, edge_type: Any, offset: int | None = None, shape: tuple[int, int] | None = None) -> Tensor:
    """How often each node (column) is read by each other (row) over edges of a type, and of an offset."""
    source, target = graph.formats(["coo", "csr", "csc"]).edges(etype=edge_type)
    if offset is not None:
        kept = graph.edges[edge_type].data["offset"] == offset
        source, target = source[kept], target[kept]
    result = torch.zeros(shape or (graph.num_nodes(), graph.num_nodes()), dtype=torch.float64)
    result.index_put_((target.long(), source.long()), torch.ones(len(source), dtype=torch.float64), accumulate=True)
    return result


def dense(layer: Any, graph: Any, nodes: Tensor) -> Tensor:
    """A convolution of node features (N, B, C) by dense matrices."""
    if hasattr(layer, "self_loop"):
        adjacency = matrices(graph, "intra") + torch.eye(len(nodes)) * layer.self_loop
        return torch.einsum("ts,sbc,cf->tbf", adjacency, nodes, layer.weight) + layer.bias
    result = nodes @ layer.weight[layer.kernel_size // 2] + layer.bias
    for tap, weight in enumerate(layer.weight):
        if tap != layer.kernel_size // 2:
            adjacency = matrices(graph, "radial", tap - layer.kernel_size // 2)
            result = result + torch.einsum("ts,sbc,cf->tbf", adjacency, nodes, weight)
    return result


def is_concentric(graph: Any, kernel_size: int) -> bool:
    """Whether the radial edges are the shifts by whole spheres that the quick forms are."""
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    spheres = graph.num_nodes() // VERTICES
    return all(
        torch.equal(
            matrices(graph, "radial", offset),
            torch.kron(torch.diag(torch.ones(max(spheres - abs(offset), 0)), offset)[:spheres, :spheres], EYE).double(),
        )
        for offset in reach
        if 0 < abs(offset) < spheres
    ) and not any(matrices(graph, "radial", offset).any() for offset in reach if abs(offset) >= spheres)


EYE = torch.eye(VERTICES)


def results(layer: Callable[[Tensor], Tensor], features: Tensor) -> list[Tensor]:
    """Output and gradient."""
    x = features.clone().requires_grad_()
    output = layer(x)
    output.sin().sum().backward()
    assert x.grad is not None
    return [output.detach(), x.grad]


def check_layer(layer: Any, given: Any, graph: Any) -> None:
    features = torch.randn(graph.num_nodes() // VERTICES, VERTICES, 2, 3, dtype=torch.float64)
    wanted = results(lambda h: dense(layer, graph, h.flatten(0, 1)).unflatten(0, (-1, VERTICES)), features)
    for got, want in zip(results(lambda h: layer(given, h), features), wanted, strict=True):
        torch.testing.assert_close(got, want, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", OBEYED)
def test_edited_graphs_are_obeyed(kind: str, form: Any) -> None:
    graph = OBEYED[kind](concentric_heterograph(LEVEL, SPHERES))
    for self_loop in (True, False):
        check_layer(IntraSphereConv(3, 2, self_loop, form=form).double(), graph, graph)
    for kernel_size in KERNELS:
        layer = RadialConv(3, 2, kernel_size, form=form).double()
        concentric = is_concentric(graph, kernel_size)
        if form in ("fast", "compiled") and not concentric:
            with pytest.raises(ValueError, match="use form='reference' to convolve over the edges that it has"):
                check_layer(layer, graph, graph)
        elif not concentric and kernel_size // 2 > graph.edges["radial"].data["offset"].abs().max():
            with pytest.raises(ValueError, match=f"build the graph with kernel_size={kernel_size}"):
                check_layer(layer, graph, graph)
        else:
            check_layer(layer, graph, graph)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_graph_is_read_again_after_each_edit(form: Any) -> None:
    graph = concentric_heterograph(LEVEL, SPHERES)
    layers = IntraSphereConv(3, 2, form=form).double(), RadialConv(3, 2, form="auto").double()
    for edit in (without("intra"), flipped_in_place, twisted, joined, flipped):
        for layer in layers:
            check_layer(layer, graph, graph)
        edit(graph)
    for layer in layers:
        check_layer(layer, graph, graph)


def test_a_saved_graph_is_the_edited_one(tmp_path: Path) -> None:
    graph = saved(flipped_in_place(without("intra")(concentric_heterograph(LEVEL, SPHERES))), tmp_path)
    check_layer(IntraSphereConv(3, 2).double(), graph, graph)
    check_layer(RadialConv(3, 2).double(), graph, graph)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("copied", ["the grid itself", "pickled", "deepcopied"])
def test_a_grids_own_graphs_may_be_edited(form: Any, copied: str) -> None:
    grid = ConcentricGrid(LEVEL, SPHERES)
    intra, radial = IntraSphereConv(3, 2, form=form).double(), RadialConv(3, 2, form="auto").double()
    check_layer(intra, grid.levels[LEVEL], grid.graph(LEVEL))  # the tables are known before the edit
    twisted(without("intra")(grid.graph(LEVEL)))
    grid.pooling(LEVEL).remove_edges(torch.tensor([1, 30]))
    if copied != "the grid itself":
        grid = pickle.loads(pickle.dumps(grid)) if copied == "pickled" else copy.deepcopy(grid)
    assert grid.graph(LEVEL).num_edges("intra") == 480 and grid.pooling(LEVEL).num_edges() == 214
    for layer in (intra, radial):
        check_layer(layer, grid.levels[LEVEL], grid.graph(LEVEL))
    check_pool(SpherePool("mean", form), grid.steps[LEVEL], grid.pooling(LEVEL))
    if form == "fast":
        assert len(grid.levels[LEVEL].relation("cpu").sources) == 480
        assert not grid.levels[LEVEL].has_radial_kernel(3)


@pytest.mark.parametrize("form", FORMS)
def test_blocks_obey_as_their_layers_do(form: Any) -> None:
    graph = duplicated("radial")(without("intra")(concentric_heterograph(LEVEL, SPHERES)))
    block = ConcentricBlock(3, [3], [2], form=form).double().eval()
    features = torch.randn(SPHERES, VERTICES, 2, 3, dtype=torch.float64)
    if form in ("fast", "compiled"):
        with pytest.raises(ValueError, match="use form='reference'"):
            block(graph, features)
        return
    nodes = features.flatten(0, 1)
    nodes = block.intra_norms[0](dense(block.intra[0], graph, nodes)) + nodes
    wanted = block.radial_norms[0](dense(block.radial[0], graph, nodes))
    torch.testing.assert_close(block(graph, features).flatten(0, 1), wanted, **TOLERANCE[torch.float64])


REFUSED: dict[str, tuple[Edit, type[Exception], str]] = {
    "batch": (lambda graph: dgl.batch([graph, graph]), ValueError, "a batch of 2; give one graph and let the batch"),
    "some vertices": (
        lambda graph: dgl.node_subgraph(graph, torch.arange(100)),
        ValueError,
        "100 nodes on 3 spheres are no concentric icospheres; keep all vertices",
    ),
    "the outer spheres": (
        lambda graph: dgl.node_subgraph(graph, torch.arange(VERTICES, 3 * VERTICES)),
        ValueError,
        "84 nodes on 2 spheres are no concentric icospheres; .* count the spheres from 0",
    ),
    "vertices in any order": (
        lambda graph: dgl.node_subgraph(graph, torch.arange(3 * VERTICES).flip(0)),
        ValueError,
        "126 nodes on 3 spheres are no concentric icospheres; .* in their order",
    ),
    "more vertices": (lambda graph: dgl.add_nodes(graph, 3), ValueError, "129 nodes on 3 spheres are no concentric"),
    "no vertices": (
        lambda graph: dgl.node_subgraph(graph, torch.arange(0)),
        ValueError,
        "0 nodes on 0 spheres are no concentric icospheres",
    ),
    "renumbered by its edges": (
        lambda graph: dgl.edge_subgraph(graph, {"intra": torch.arange(9), "radial": torch.arange(5)}),
        ValueError,
        r"no concentric icospheres; .*dgl.edge_subgraph does so with relabel_nodes=False",
    ),
    "one edge type": (lambda graph: dgl.edge_type_subgraph(graph, ["intra"]), TypeError, "'intra' and 'radial' edges"),
    "homogeneous": (dgl.to_homogeneous, TypeError, "a DGL heterograph with 'intra' and 'radial' edges, not a graph"),
    "homogeneous and back without data": (
        lambda graph: dgl.to_heterogeneous(dgl.to_homogeneous(graph), graph.ntypes, graph.etypes),
        ValueError,
        r"no data 'sphere'; set graph.nodes\['vertex'\]",
    ),
    "homogeneous and back without offsets": (
        lambda graph: dgl.to_heterogeneous(dgl.to_homogeneous(graph, ndata=["sphere"]), graph.ntypes, graph.etypes),
        ValueError,
        r"the radial edges have no offset; set graph.edges\['radial'\]",
    ),
    "reversed without offsets": (dgl.reverse, ValueError, "the radial edges have no offset"),
    "simple without offsets": (dgl.to_simple, ValueError, "the radial edges have no offset"),
    "radial edges without offsets": (
        lambda graph: dgl.add_edges(graph, [3], [45], etype="radial"),
        ValueError,
        "radial edge 168 has no offset",
    ),
    "all edges added": (
        lambda graph: dgl.add_reverse_edges(graph, exclude_self=False),
        ValueError,
        "radial edge|radial edges",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_obeyed_is_refused_in_a_sentence(kind: str, form: Any) -> None:
    edit, error, message = REFUSED[kind]
    graph = edit(concentric_heterograph(LEVEL, SPHERES))
    for layer in (IntraSphereConv(1, 1, form=form), RadialConv(1, 1, form=form), ConcentricBlock(1, [1], [1])):
        with pytest.raises(error, match=message) as raised:
            layer(graph, torch.zeros(SPHERES, VERTICES, 1, 1))
        assert "\n" not in str(raised.value)


def check_pool(pool: SpherePool, given: Any, graph: Any) -> None:
    features = torch.randn(graph.num_nodes("fine"), 2, 3, dtype=torch.float64)
    adjacency = matrices(graph, "pool", shape=(graph.num_nodes("coarse"), graph.num_nodes("fine")))

    def wanted(nodes: Tensor) -> Tensor:
        if pool.reduction == "max":
            members = adjacency[:, :, None, None] > 0
            return torch.where(members, nodes, -torch.inf).amax(dim=1)
        total = torch.einsum("ts,sbc->tbc", adjacency, nodes)
        return total / adjacency.sum(dim=1)[:, None, None] if pool.reduction == "mean" else total

    pairs = zip(results(lambda h: pool(given, h), features), results(wanted, features), strict=True)
    for got, want in pairs:
        torch.testing.assert_close(got, want, **TOLERANCE[torch.float64])


def rewired(graph: Any) -> Any:
    """Let one coarse vertex pool all fine ones of the inner spheres, out of order and some of them twice."""
    source = torch.cat([torch.randperm(200), torch.arange(40)])
    graph.add_edges(source, torch.full_like(source, 5))
    return graph


POOLS: dict[str, Edit] = {
    "as built": lambda graph: graph,
    "edges removed": lambda graph: dgl.remove_edges(graph, torch.tensor([1, 8, 30])),
    "edges added": rewired,
    "csc": lambda graph: graph.formats("csc"),
    "csr": lambda graph: rewired(graph).formats("csr"),
    "int32": lambda graph: graph.int(),
    "simple": lambda graph: dgl.to_simple(rewired(graph)),
    "edge subgraph": lambda graph: dgl.edge_subgraph(graph, torch.randperm(graph.num_edges()), relabel_nodes=False),
    "pickled": lambda graph: pickle.loads(pickle.dumps(rewired(graph))),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", ["max", "mean", "sum"])
@pytest.mark.parametrize("kind", POOLS)
def test_edited_steps_are_obeyed(kind: str, reduction: Any, form: Any) -> None:
    graph = POOLS[kind](pooling_graph(2, 2))
    check_pool(SpherePool(reduction, form), graph, graph)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", ["max", "mean", "sum"])
def test_steps_that_cannot_be_pooled_are_refused(reduction: Any, form: Any) -> None:
    pool, features = SpherePool(reduction, form), torch.zeros(2, 162, 1, 1)
    graph = pooling_graph(2, 2)
    graph.remove_edges(torch.arange(6))
    with pytest.raises(ValueError, match="coarse vertex 0 has 0 edges from fine vertices; give each .* 1 to 256"):
        pool(graph, features)
    graph = pooling_graph(2, 2)
    graph.add_edges(torch.arange(300), torch.full((300,), 9))
    with pytest.raises(ValueError, match="coarse vertex 9 has 306 edges"):
        pool(graph, features)
    with pytest.raises(ValueError, match="a batch of 2"):
        pool(dgl.batch([pooling_graph(2, 2)] * 2), features)
    with pytest.raises(TypeError, match="a PoolingLevel or a DGL graph fine -pool-> coarse"):
        pool(dgl.reverse(pooling_graph(2, 2)), features)
