"""Every operator as torch sees it: schema, shape function, gradient and count of operations; and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from csgnn_dgl.graphs import ConcentricLevel, PoolingLevel
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, RadialConv, SpherePool
from csgnn_dgl.nn.ops import harmonic, library, points, segments
from csgnn_dgl.nn.ops.intra import Edges
from tests.tolerances import TOLERANCE

OPERATORS = torch.ops.csgnn_dgl
REGISTERED_BY = (harmonic, points, segments)  # beside those that the layers bring along
SPHERES, VERTICES, BATCH = 2, 12, 3

pytestmark = pytest.mark.skipif(not library.available(), reason="no g++ here, or CSGNN_KERNELS=off")


def grid(channels: int, dtype: torch.dtype, wanted: bool = True) -> Tensor:
    return torch.randn(SPHERES, VERTICES, BATCH, channels, dtype=dtype, requires_grad=wanted)


def edges() -> Edges:
    return Edges.of(ConcentricLevel(0, SPHERES).relation("cpu", self_loop=True))


def parameter(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def block_arguments(dtype: torch.dtype, measured: bool) -> tuple[Any, ...]:
    weights = [parameter(4, 4, dtype=dtype), parameter(3, 4, 5, dtype=dtype)]
    biases, scales, shifts = ([parameter(width, dtype=dtype) for width in (4, 5)] for _ in range(3))
    means, variances = ([torch.rand(width, dtype=dtype) + 1 for width in (4, 5)] for _ in range(2))
    lists = (weights, biases, scales, shifts, means, variances, list(edges()[:4]))
    return (grid(4, dtype), *lists, [1e-5, 1e-5], [measured] * 2, [True, False], False)


def block_backward_arguments(dtype: torch.dtype) -> tuple[Any, ...]:
    features, weights, *lists, tables, eps, measured, residual, _ = block_arguments(dtype, True)
    with torch.no_grad():
        result, *kept = OPERATORS.block(features, weights, *lists, tables, eps, measured, residual, True)
    weights = [weight.detach() for weight in weights]
    return (torch.randn_like(result), features.detach(), *kept, weights, tables[2:], measured, residual, True)


def pooling_arguments(dtype: torch.dtype) -> tuple[Tensor, ...]:
    found = PoolingLevel(1, SPHERES).relation("cpu")
    features = torch.randn(SPHERES * 42, 5, dtype=dtype, requires_grad=True)
    return features, found.sources, found.offsets, found.targets, found.places, found.reverse_offsets


def pooling_backward_arguments(dtype: torch.dtype) -> tuple[Tensor, ...]:
    features, sources, offsets, *readers = pooling_arguments(dtype)
    maximum, winners = OPERATORS.neighbour_max(features.detach(), sources, offsets, *readers, True)
    return torch.randn_like(maximum), winners, *readers


def segment_arguments(dtype: torch.dtype, kernel: bool) -> tuple[Any, ...]:
    sources, offsets = torch.tensor([5, 2, 2, 0, 4, 1]), torch.tensor([0, 2, 2, 5, 6])  # the second is empty
    return torch.randn(7, 4, dtype=dtype, requires_grad=True), sources, offsets, kernel


def segment_backward_arguments(dtype: torch.dtype) -> tuple[Any, ...]:
    rows, sources, offsets, _ = segment_arguments(dtype, True)
    maximum, places = OPERATORS.segment_max(rows.detach(), sources, offsets, True)
    return torch.randn_like(maximum), places, sources, offsets, len(rows)


def harmonic_arguments(dtype: torch.dtype, summed: bool) -> tuple[Any, ...]:
    points = torch.randn(2, 9, 3, dtype=dtype, requires_grad=True)
    return points, OPERATORS.nearest(points.detach(), points.detach(), 4), 0.3, summed


CALLS: dict[str, Callable[[torch.dtype], tuple[Any, ...]]] = {
    "intra": lambda dtype: (grid(4, dtype), parameter(4, 5, dtype=dtype), parameter(5, dtype=dtype), *edges()[:4]),
    "intra without bias": lambda dtype: (grid(5, dtype), parameter(5, 4, dtype=dtype), None, *edges()[:4]),
    "intra_backward": lambda dtype: (
        *(grid(5, dtype, False), grid(4, dtype, False)),
        *(parameter(4, 5, dtype=dtype).detach(), edges().targets, edges().reverse_offsets, True),
    ),
    "radial": lambda dtype: (grid(4, dtype), parameter(3, 4, 5, dtype=dtype), parameter(5, dtype=dtype)),
    "radial_backward": lambda dtype: (
        *(grid(5, dtype, False), grid(4, dtype, False)),
        *(parameter(3, 4, 5, dtype=dtype).detach(), False),
    ),
    "block in training": lambda dtype: block_arguments(dtype, True),
    "block in evaluation": lambda dtype: block_arguments(dtype, False),
    "block_backward": block_backward_arguments,
    "neighbour_max": lambda dtype: (*pooling_arguments(dtype), True),
    "neighbour_max_backward": pooling_backward_arguments,
    "nearest": lambda dtype: (torch.randn(2, 9, 3, dtype=dtype), torch.randn(2, 5, 3, dtype=dtype), 4),
    "farthest_points": lambda dtype: (torch.randn(2, 9, 3, dtype=dtype), 4),
    "segment_max": lambda dtype: segment_arguments(dtype, False),
    "segment_max by kernels": lambda dtype: segment_arguments(dtype, True),
    "segment_max of all rows": lambda dtype: (*segment_arguments(dtype, True)[:1], None, torch.tensor([0, 3, 7]), True),
    "segment_max_backward": segment_backward_arguments,
    "harmonic_kernel": lambda dtype: harmonic_arguments(dtype, False),
    "harmonic_kernel summed": lambda dtype: harmonic_arguments(dtype, True),
    "overall_max": lambda dtype: (torch.randn(20, 6, dtype=dtype, requires_grad=True),),
}


CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor")


@pytest.mark.parametrize("checks", [CHECKS, pytest.param(("test_aot_dispatch_dynamic",), marks=pytest.mark.slow)])
@pytest.mark.parametrize("call", CALLS)
def test_torch_finds_nothing_wrong_with_an_operator(call: str, checks: tuple[str, ...], dtype: torch.dtype) -> None:
    torch.library.opcheck(getattr(OPERATORS, call.split()[0]).default, CALLS[call](dtype), test_utils=checks)


def test_every_operator_is_checked() -> None:
    known = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("csgnn_dgl::")}
    assert known == {call.split()[0] for call in CALLS}


@pytest.mark.parametrize("call", CALLS)
def test_operators_take_tensors_without_numbers_and_of_any_order_in_memory(call: str) -> None:
    arguments = CALLS[call](torch.float32)
    operator = getattr(OPERATORS, call.split()[0]).default

    def change(argument: Any, move: Callable[[Tensor], Tensor]) -> Any:
        if isinstance(argument, list):
            return [change(value, move) for value in argument]
        return move(argument) if isinstance(argument, Tensor) else argument

    with torch.no_grad():
        wanted = operator(*arguments)
        found = operator(*(change(argument, lambda tensor: tensor.to("meta")) for argument in arguments))
        shapes = [value.shape for value in torch.utils._pytree.tree_leaves(found)]
        assert shapes == [value.shape for value in torch.utils._pytree.tree_leaves(wanted)]
        first = change(arguments[0], lambda tensor: tensor.transpose(0, -1).contiguous().transpose(0, -1))
        again = operator(first, *arguments[1:])
    for one, other in zip(*map(torch.utils._pytree.tree_leaves, (again, wanted)), strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE.get(other.dtype, {"rtol": 0, "atol": 0}))


@pytest.mark.parametrize(
    "change", [lambda tensor: tensor[..., :-1], torch.Tensor.half, lambda tensor: tensor[None], torch.Tensor.to_sparse]
)
def test_tensors_that_do_not_fit_the_others_are_refused(change: Callable[[Tensor], Tensor]) -> None:
    for call in ("intra", "radial", "block in training", "intra_backward", "radial_backward", "block_backward"):
        first, *others = CALLS[call](torch.float32)
        with torch.no_grad(), pytest.raises((ValueError, RuntimeError)):
            getattr(OPERATORS, call.split()[0])(change(first.detach()), *others)


@pytest.mark.parametrize("form", ["auto", "fast"])
def test_layers_take_fake_tensors(form: Any) -> None:
    level, step = ConcentricLevel(1, 3), PoolingLevel(1, 3)
    layers: list[tuple[Any, Any]] = [(IntraSphereConv(4, 5, form=form), level), (RadialConv(4, 5, form=form), level)]
    layers += [(ConcentricBlock(4, [4], [5], form=form), level), (SpherePool("max", form), step)]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for layer, graph in layers:
            features = mode.from_tensor(torch.randn(3, 42, 2, 4, requires_grad=True))
            result = layer(graph, features)
            result.sum().backward()
            assert type(result) is type(features) and features.grad is not None


@pytest.mark.parametrize("wanted", [True, False])
def test_operations_of_a_block_are_counted(wanted: bool) -> None:
    level = ConcentricLevel(1, 3)
    block = ConcentricBlock(4, [4, 5], [6], form="auto")
    with FlopCounterMode(display=False) as counter:
        block(level, torch.randn(3, 42, 2, 4, requires_grad=wanted)).sum().backward()
    rows = 2 * 3 * 42 * 2
    forward = rows * (4 * 4 + 4 * 5 + 3 * 5 * 6)
    assert counter.get_total_flops() == 3 * forward - (0 if wanted else rows * 4 * 4)
