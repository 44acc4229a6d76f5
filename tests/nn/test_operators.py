"""Every operator as torch sees it: schema, shape function, gradient and count of operations; and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from csgnn_dgl.graphs import ConcentricLevel, PoolingLevel
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.intra import Edges

OPERATORS = torch.ops.csgnn_dgl
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
    "overall_max": lambda dtype: (torch.randn(20, 6, dtype=dtype, requires_grad=True),),
}


@pytest.mark.parametrize("call", CALLS)
def test_torch_finds_nothing_wrong_with_an_operator(call: str, dtype: torch.dtype) -> None:
    torch.library.opcheck(getattr(OPERATORS, call.split()[0]).default, CALLS[call](dtype))


def test_every_operator_is_checked() -> None:
    known = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("csgnn_dgl::")}
    assert known == {call.split()[0] for call in CALLS}
