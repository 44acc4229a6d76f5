"""Layers on graphs while torch computes with shapes alone."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from csgnn_dgl import ConcentricBlock, ConcentricGrid, IntraSphereConv, RadialConv, SpherePool, concentric_heterograph
from csgnn_dgl.graphs import pooling_graph

LAYERS = {
    "intra": lambda: IntraSphereConv(4, 6),
    "radial": lambda: RadialConv(4, 6),
    "block": lambda: ConcentricBlock(4, [6, 6], [6]),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("given", ["heterograph", "level"])
def test_convolutions_of_shapes_alone_give_shapes(name, given):
    graph = concentric_heterograph(1, 3) if given == "heterograph" else ConcentricGrid(1, 3).levels[1]
    with FakeTensorMode(allow_non_fake_inputs=True):
        result = LAYERS[name]()(graph, torch.randn(3, 42, 2, 4))
    assert isinstance(result, FakeTensor) and result.shape == (3, 42, 2, 6)
    assert LAYERS[name]().to("meta")(graph, torch.randn(3, 42, 2, 4, device="meta")).shape == (3, 42, 2, 6)
    # what was read of the graph meanwhile has numbers
    assert LAYERS[name]()(graph, torch.randn(3, 42, 2, 4)).isfinite().all()


@pytest.mark.parametrize("reduction", ["max", "mean", "sum"])
def test_pooling_of_shapes_alone_gives_shapes(reduction):
    graph = pooling_graph(1, 3)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert SpherePool(reduction)(graph, torch.randn(3, 42, 2, 4)).shape == (3, 12, 2, 4)
    assert SpherePool(reduction)(graph, torch.randn(3, 42, 2, 4, device="meta")).shape == (3, 12, 2, 4)
    assert SpherePool(reduction)(graph, torch.randn(3, 42, 2, 4)).isfinite().all()
