"""Maxima over shells: by hand, empty shells, equal rows, derivatives, and the graph that they come from."""

import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.segments import segment_max
from csgnn_dgl.nn.shells import ShellMax, shell_graph
from tests.forms import FORMS, HAS_DGL
from tests.tolerances import TOLERANCE

INDEX = torch.tensor([[[2, 0, 1]], [[1, 2, 3]]])
SIZES = torch.tensor([[[1, 0, 2]], [[0, 3, 0]]])


@pytest.mark.parametrize("form", FORMS)
def test_maxima_are_those_of_the_members_of_each_shell(form: Form, dtype: torch.dtype) -> None:
    edges = torch.tensor([[[-1.0, 2.0, 3.0]], [[4.0, 5.0, -6.0]]], dtype=dtype)[..., None]
    points = torch.tensor([[1.0, 2.0, 3.0, 9.0], [9.0, 5.0, 0.0, 7.0]], dtype=dtype)[..., None]
    found = ShellMax(form)(INDEX, SIZES, edges, points)
    wanted = [[[[0, 3], [0, 0], [3, 2]]], [[[0, 0], [5, 7], [0, 0]]]]  # a negative and no neighbour both give 0
    assert torch.equal(found, torch.tensor(wanted, dtype=dtype))
    assert torch.equal(ShellMax(form)(INDEX, SIZES, edges), found[..., :1])


kernels = pytest.mark.parametrize("kernel", [False, *([True] if library.available() else [])])


@kernels
def test_the_gradient_goes_to_the_first_of_equal_rows_and_to_none_of_an_empty_segment(kernel: bool) -> None:
    rows = torch.tensor([[3.0], [3.0], [-1.0]], requires_grad=True)
    offsets = torch.tensor([0, 0, 2, 3, 3])
    found = segment_max(rows, torch.tensor([1, 0, 2]), offsets, kernel)
    assert found.tolist() == [[0], [3], [0], [0]]
    found.sum().backward()
    assert rows.grad is not None and rows.grad.tolist() == [[0], [1], [0]]


@kernels
@pytest.mark.parametrize("sources", [None, [0, 4, 5, 2, 2, 1]])
def test_derivatives_of_maxima_are_right(sources: list[int] | None, kernel: bool) -> None:
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([0, 2, 2, 6, 6])

    def function(values: Tensor) -> Tensor:
        return segment_max(values, None if sources is None else torch.tensor(sources), offsets, kernel).square()

    assert torch.autograd.gradcheck(function, rows, **TOLERANCE[torch.float32])
    assert torch.autograd.gradgradcheck(function, rows, **TOLERANCE[torch.float32])


@pytest.mark.skipif(not HAS_DGL, reason="dgl is not installed")
def test_edges_of_the_graph_lead_from_the_neighbours_to_their_shells() -> None:
    graph = shell_graph(INDEX, SIZES, 4)
    assert (graph.num_nodes("point"), graph.num_nodes("shell")) == (8, 6)
    source, target = graph.edges()
    assert source.tolist() == [2, 0, 1, 5, 6, 7]
    assert target.tolist() == [0, 2, 2, 4, 4, 4]


def test_forms_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of auto, compiled, fast, reference, not 'slow'"):
        ShellMax("slow")  # type: ignore[arg-type]


@pytest.mark.skipif(not library.available(), reason="there are no kernels here")
def test_kernels_take_as_many_neighbours_as_fit_into_a_byte() -> None:
    index, sizes = torch.arange(257).expand(1, 1, 257), torch.tensor([[[257]]])
    edges = torch.rand(1, 1, 257, 2)
    assert torch.equal(ShellMax()(index, sizes, edges), edges.amax(dim=2, keepdim=True))
    with pytest.raises(ValueError, match="form='compiled' takes up to 256 neighbours, got 257"):
        ShellMax("compiled")(index, sizes, edges)
    assert torch.equal(
        ShellMax("compiled")(index[..., 1:], sizes - 1, edges[:, :, 1:])[0, 0], edges[0, :, 1:].amax(dim=1)
    )
