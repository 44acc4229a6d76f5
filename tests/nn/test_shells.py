"""Maxima over shells: by hand, empty shells, equal rows, derivatives, and the graph that they come from."""

import pytest
import torch

from csgnn_dgl.nn.ops.segments import segment_max
from csgnn_dgl.nn.shells import ShellMax, shell_graph
from tests.forms import HAS_DGL
from tests.tolerances import TOLERANCE

INDEX = torch.tensor([[[2, 0, 1]], [[1, 2, 3]]])
SIZES = torch.tensor([[[1, 0, 2]], [[0, 3, 0]]])


@pytest.mark.parametrize("form", ["fast", "auto", *(["reference"] if HAS_DGL else [])])
def test_maxima_are_those_of_the_members_of_each_shell(form: str, dtype: torch.dtype) -> None:
    edges = torch.tensor([[[-1.0, 2.0, 3.0]], [[4.0, 5.0, -6.0]]], dtype=dtype)[..., None]
    points = torch.tensor([[1.0, 2.0, 3.0, 9.0], [9.0, 5.0, 0.0, 7.0]], dtype=dtype)[..., None]
    found = ShellMax(form)(INDEX, SIZES, edges, points)  # type: ignore[arg-type]
    wanted = [[[[0, 3], [0, 0], [3, 2]]], [[[0, 0], [5, 7], [0, 0]]]]  # a negative and no neighbour both give 0
    assert torch.equal(found, torch.tensor(wanted, dtype=dtype))
    assert torch.equal(ShellMax(form)(INDEX, SIZES, edges), found[..., :1])  # type: ignore[arg-type]


def test_the_gradient_goes_to_the_first_of_equal_rows_and_to_none_of_an_empty_segment() -> None:
    rows = torch.tensor([[3.0], [3.0], [-1.0]], requires_grad=True)
    offsets = torch.tensor([0, 0, 2, 3])
    found = segment_max(rows, torch.tensor([1, 0, 2]), offsets)
    assert found.tolist() == [[0], [3], [0]]
    found.sum().backward()
    assert rows.grad is not None and rows.grad.tolist() == [[0], [1], [0]]


def test_derivatives_of_maxima_are_right() -> None:
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    sources, offsets = torch.tensor([0, 4, 5, 2, 2, 1]), torch.tensor([0, 2, 2, 6])
    tolerance = {"rtol": TOLERANCE[torch.float32]["rtol"], "atol": TOLERANCE[torch.float32]["atol"]}
    assert torch.autograd.gradcheck(lambda x: segment_max(x, sources, offsets), rows, **tolerance)
    assert torch.autograd.gradgradcheck(lambda x: segment_max(x, sources, offsets).square(), rows, **tolerance)


@pytest.mark.skipif(not HAS_DGL, reason="dgl is not installed")
def test_edges_of_the_graph_lead_from_the_neighbours_to_their_shells() -> None:
    graph = shell_graph(INDEX, SIZES, 4)
    assert (graph.num_nodes("point"), graph.num_nodes("shell")) == (8, 6)
    source, target = graph.edges()
    assert source.tolist() == [2, 0, 1, 5, 6, 7]
    assert target.tolist() == [0, 2, 2, 4, 4, 4]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of auto, fast, reference, not 'slow'"):
        ShellMax("slow")  # type: ignore[arg-type]
