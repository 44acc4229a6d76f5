"""The C++ kernels as Python functions on tensors: arguments checked, results allocated, nothing differentiated.

The kernels run on the CPU. They take float32, float64 and bfloat16 features; with bfloat16, weights, norms and their
gradients are float32, and so are sums; the factors of products are rounded to bfloat16 where that is faster (see
`twins`). They are compiled by g++ when first needed, for the processor at hand; where that cannot be, or the
environment has ``CSGNN_KERNELS=off``, `available` says so.

Every function takes contiguous tensors in memory, empty ones as well, and raises ValueError for others before anything
is computed, so that no argument ends the interpreter. The same number of threads gives the same bits again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from csgnn_dgl.allocator import empty
from csgnn_dgl.nn.ops import build, twins
from csgnn_dgl.nn.ops.arguments import ARGUMENTS
from csgnn_dgl.notes import LOGGER

MAX_TAPS = 64
_NAMES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


class Line(NamedTuple):
    """A norm with its ReLU as it is applied: relu(scale · y + shift), both (F,)."""

    scale: Tensor
    shift: Tensor


class Norm(NamedTuple):
    """A norm's input, (..., F), the line that is applied to it, and the mean that is taken out, (F,)."""

    input: Tensor
    scale: Tensor
    shift: Tensor
    mean: Tensor


class NormGradient(NamedTuple):
    """What gives the gradient of a norm's input from that of its output z = relu(scale · y + shift), all (F,).

    dy = scale · [scale · y + shift > 0] · dz + slope · (y - mean) + constant.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    slope: Tensor
    constant: Tensor


class Forward(NamedTuple):
    """Result of a convolution, and (2, F) float64 mean and sum of squared distances from it, if they were asked for."""

    result: Tensor
    moments: Tensor | None


class Backward(NamedTuple):
    """Gradients of a convolution's features and weight, and the sums of the norm before it, where asked for."""

    features: Tensor | None
    weight: Tensor
    sums: Tensor | None


def available(stored: torch.dtype = torch.float32) -> bool:
    """Whether the kernels for features stored so can be used in this process; compiles them if they are not yet."""
    return os.environ.get("CSGNN_KERNELS", "on") != "off" and _libraries(stored) is not None


def product_times() -> twins.Times:
    """Return how long convolutions of bfloat16 features take with both kinds of products; see `twins`."""
    return twins.times(_convolutions)


def storage(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which features of `dtype` are stored: bfloat16 under its autocast, else `dtype` itself."""
    rounded = torch.is_autocast_enabled("cpu") and dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if rounded else dtype


def computed(stored: torch.dtype) -> torch.dtype:
    """Return the dtype of weights, norms and sums beside features that are stored as `stored`."""
    return torch.float32 if stored == torch.bfloat16 else stored


def intra_forward(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    sources: Tensor,
    offsets: Tensor,
    *,
    moments: bool = False,
    norm: Line | None = None,
    residual: bool = False,
) -> Forward:
    """Sum the sources of each node of features (R, V, B, C) and multiply: y_v = Σ_{u → v} x_u W + b, (R, V, B, F).

    Node v of the R·V nodes reads ``sources[offsets[v]:offsets[v + 1]]``, int32. On request the result is measured for a
    norm, or a norm with its ReLU is applied to it and the features are added to that (C = F).
    """
    call = _Call("intra_forward", features)
    spheres, vertices, _, depth = call.shape("features", features, 4)
    _, columns = call.shape("weight", weight, 2)
    call.parameters((depth, columns), weight=weight)
    call.edges(sources, offsets, spheres * vertices, "sources")
    call.values |= {"nodes": spheres * vertices}
    return _forward(call, features, columns, bias, moments, norm, residual)


def radial_forward(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    line: Line | None = None,
    moments: bool = False,
    norm: Line | None = None,
    residual: bool = False,
) -> Forward:
    """Convolve features (R, V, B, C) along the radial edges: y_r = Σ_k x_{r + k - K // 2} W_k + b, (R, V, B, F).

    There are zeros beyond the ends. The weight is (K, C, F) with K odd, at most `MAX_TAPS`. With a line, which rules
    out a residual, relu(scale · x + shift) is read instead of x. The rest is as in `intra_forward`.
    """
    call = _Call("radial_forward", features)
    spheres, vertices, _, depth = call.shape("features", features, 4)
    columns = call.taps(weight, depth)
    if line is not None:
        call.parameters((depth,), line_scale=line.scale, line_shift=line.shift)
        if residual:
            raise ValueError("radial_forward adds no residual to features on a line; apply the line first")
    call.values |= {"spheres": spheres, "vertices": vertices, "on_line": line is not None}
    return _forward(call, features, columns, bias, moments, norm, residual)


def intra_backward(
    gradient: Tensor,
    features: Tensor | None,
    weight: Tensor,
    targets: Tensor,
    offsets: Tensor,
    *,
    wanted: bool = True,
    residual: Tensor | None = None,
    before: Norm | None = None,
) -> Backward:
    """Return the gradients of `intra_forward`'s features (R, V, B, C) and weight (C, F) from the result's (R, V, B, F).

    Node v is read by ``targets[offsets[v]:offsets[v + 1]]``, int32. The residual is added to the gradient of the
    features. `before` is the norm that made the features: their gradient is summed for it as `norm_sums` does, and
    features of None are made by it again.
    """
    call = _Call("intra_backward", gradient)
    spheres, vertices, batch, columns = call.shape("gradient", gradient, 4)
    depth, _ = call.shape("weight", weight, 2)
    call.parameters((depth, columns), weight=weight)
    call.edges(targets, offsets, spheres * vertices, "targets")
    if residual is not None:
        call.features((spheres, vertices, batch, depth), residual=residual)
    call.values |= {"nodes": spheres * vertices, "adds_residual": residual is not None}
    return _backward(call, gradient, features, weight, wanted, before)


def radial_backward(
    gradient: Tensor,
    features: Tensor | None,
    weight: Tensor,
    *,
    result: Tensor | None = None,
    norm: NormGradient | None = None,
    wanted: bool = True,
    before: Norm | None = None,
) -> Backward:
    """Return the gradients of features (R, V, B, C) and weight (K, C, F) of `radial_forward`; see `intra_backward`.

    With the convolution's result (R, V, B, F) and its norm, the gradient is that of the norm's output.
    """
    call = _Call("radial_backward", gradient)
    spheres, vertices, _, columns = call.shape("gradient", gradient, 4)
    _, depth, _ = call.shape("weight", weight, 3)
    if call.taps(weight, depth) != columns:
        raise ValueError(f"radial_backward: weight must have F = {columns} columns, got {tuple(weight.shape)}")
    if (result is None) != (norm is None):
        raise ValueError("radial_backward needs result and norm, or none of them")
    if result is not None and norm is not None:
        call.features(gradient.shape, result=result)
        call.parameters((columns,), **{f"norm_{name}": value for name, value in norm._asdict().items()})
    call.values |= {"spheres": spheres, "vertices": vertices, "after_norm": norm is not None}
    return _backward(call, gradient, features, weight, wanted, before)


def norm_forward(y: Tensor, line: Line, residual: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Return relu(scale · y + shift), plus the residual: (..., F), in `out` if it is given (which may be y)."""
    call = _Call("norm_forward", y)
    result = empty(tuple(y.shape), y.dtype) if out is None else out
    call.features(y.shape, input=y, result=result)
    call.parameters(y.shape[-1:], **line._asdict())
    if residual is not None:
        call.features(y.shape, residual=residual)
    call.run(**_rows(y), adds_residual=residual is not None)
    return result


def norm_sums(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the sums of the gradient that the ReLU lets through, and of the same times (y - mean): (2, F) float64."""
    call = _Call("norm_sums", gradient)
    call.features(gradient.shape, gradient=gradient, input=norm.input)
    call.parameters(gradient.shape[-1:], scale=norm.scale, shift=norm.shift, mean=norm.mean)
    sums = torch.empty(2, gradient.shape[-1], dtype=torch.float64)
    call.run(**_rows(gradient), sums=sums)
    return sums


def norm_backward(gradient: Tensor, y: Tensor, norm: NormGradient) -> Tensor:
    """Return the gradient (..., F) of a norm's input y from that of its output."""
    call = _Call("norm_backward", gradient)
    call.features(gradient.shape, gradient=gradient, input=y)
    call.parameters(gradient.shape[-1:], **norm._asdict())
    result = empty(tuple(gradient.shape), gradient.dtype)
    call.run(**_rows(gradient), input_gradient=result)
    return result


def max_forward(
    features: Tensor, sources: Tensor, offsets: Tensor, *, winners: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Maximum over the sources of each target, and its place among them; the first of equal ones, a NaN before all.

    Of features (sources, M), target t reads ``sources[offsets[t]:offsets[t + 1]]``, int32, 1 to 256 of them. The maxima
    are (targets, M), the places the same in uint8, or None.
    """
    call = _Call("max_forward", features)
    rows, length = call.shape("features", features, 2)
    call.features((rows, length), features=features)
    targets = call.edges(sources, offsets, None, "sources")
    maximum = empty((targets, length), features.dtype)
    places = empty((targets, length), torch.uint8) if winners else None
    call.run(
        source_count=rows, target_count=targets, length=length, result=maximum, winners=places, wants_winners=winners
    )
    return maximum, places


def max_backward(gradient: Tensor, winners: Tensor, targets: Tensor, places: Tensor, offsets: Tensor) -> Tensor:
    """Return the gradient (sources, M) of `max_forward`'s features from that of the maxima, (targets, M).

    Source s is read by ``targets[offsets[s]:offsets[s + 1]]``, int32, in the ``places`` of their lists, uint8.
    """
    call = _Call("max_backward", gradient)
    rows, length = call.shape("gradient", gradient, 2)
    call.features((rows, length), gradient=gradient)
    call.take(torch.uint8, (rows, length), winners=winners)
    count = call.edges(targets, offsets, None, "targets")
    call.take(torch.uint8, targets.shape, places=places)
    result = empty((count, length), gradient.dtype)
    call.run(source_count=count, target_count=rows, length=length, features_gradient=result)
    return result


def overall_max(features: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of each column of (rows, M), at most 2³¹ - 1 rows, and the row it is in: (M,), and (M,) int64."""
    call = _Call("overall_max", features)
    rows, length = call.shape("features", features, 2)
    call.features((rows, length), features=features)
    if not 0 < rows < 2**31:
        raise ValueError(f"overall_max takes 1 to 2³¹ - 1 rows, got {rows}")
    maximum = empty((length,), features.dtype)
    winners = empty((length,), torch.int64)
    call.run(rows=rows, length=length, result=maximum, winners=winners)
    return maximum, winners


def smallest(features: Tensor, count: int) -> Tensor:
    """Places of the `count` smallest numbers of each row of (rows, M), from the smallest on: (rows, count) int64.

    Of equal numbers the first comes first; a NaN is larger than everything.
    """
    call = _Call("smallest", features)
    rows, length = call.shape("features", features, 2)
    call.features((rows, length), features=features)
    if not 0 < count <= length < 2**31:
        raise ValueError(f"smallest takes 1 to {length} numbers of each row, got {count}")
    result = empty((rows, count), torch.int64)
    call.run(rows=rows, length=length, count=count, result=result)
    return result


class _Call:
    """The arguments of a kernel, each checked as it is taken, and the call."""

    def __init__(self, kernel: str, features: Tensor) -> None:
        self.kernel = kernel
        self.stored, self.computed = features.dtype, computed(features.dtype)
        self.values: dict[str, Tensor | int | None] = {}
        if features.dtype not in _NAMES or features.dim() == 0:
            raise ValueError(
                f"{kernel} takes float32, float64 or bfloat16 features with axes, got {features.dtype} "
                f"{tuple(features.shape)}"
            )

    def shape(self, name: str, tensor: Tensor, axes: int) -> tuple[int, ...]:
        """Return a shape of so many axes."""
        if tensor.dim() != axes:
            raise ValueError(f"{self.kernel}: {name} must have {axes} axes, got {tuple(tensor.shape)}")
        return tuple(tensor.shape)

    def take(self, dtype: torch.dtype, shape: tuple[int, ...], **tensors: Tensor) -> None:
        """Take tensors of this dtype and shape that lie in memory as they are."""
        for name, tensor in tensors.items():
            if tensor.dtype != dtype or tensor.shape != shape or not _in_memory(tensor):
                raise ValueError(
                    f"{self.kernel}: {name} must be a contiguous {dtype} tensor {tuple(shape)} in the memory of the "
                    f"CPU, got a {type(tensor).__name__} of {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
                )
        self.values |= tensors

    def features(self, shape: tuple[int, ...], **tensors: Tensor) -> None:
        self.take(self.stored, shape, **tensors)

    def parameters(self, shape: tuple[int, ...], **tensors: Tensor) -> None:
        self.take(self.computed, shape, **tensors)

    def taps(self, weight: Tensor, depth: int) -> int:
        """Take the weight of a radial convolution; return its number of columns."""
        taps, _, columns = self.shape("weight", weight, 3)
        self.parameters((taps, depth, columns), weight=weight)
        if taps % 2 == 0 or taps > MAX_TAPS:
            raise ValueError(f"{self.kernel}: weight must have an odd number of taps below {MAX_TAPS}, got {taps}")
        self.values["taps"] = taps
        return columns

    def edges(self, nodes: Tensor, offsets: Tensor, count: int | None, name: str) -> int:
        """Take compressed edges of `count` nodes; return that number."""
        (found,) = self.shape("offsets", offsets, 1)
        count = max(found - 1, 0) if count is None else count
        self.take(torch.int32, (count + 1,), offsets=offsets)
        self.take(torch.int32, self.shape(name, nodes, 1), **{name: nodes})
        self.values["edges"] = len(nodes)
        return count

    def run(self, **values: Tensor | int | None) -> None:
        """Call the kernel with what was taken and these values."""
        libraries = _libraries(self.stored)
        if libraries is None:
            raise ValueError(f"{self.kernel} needs the compiled kernels, and there are none here; let torch compute")
        unit, threads = _NAMES[self.stored], torch.get_num_threads()
        if self.stored == torch.bfloat16 and self.kernel in twins.KERNELS:
            channels = [value for key in ("in_channels", "out_channels") if isinstance(value := values[key], int)]
            unit, threads = twins.unit_for(self.kernel, min(channels), threads, _convolutions)
        # self.values and values hold the tensors until the kernel is done.
        pointers = {
            name: value.data_ptr() if isinstance(value, Tensor) else value
            for name, value in (self.values | values).items()
        }
        kernel = getattr(libraries[unit], f"{self.kernel}_{unit}")
        answer = kernel(ctypes.byref(ARGUMENTS[self.kernel](**pointers)), threads)
        if answer == 1:
            raise ValueError(f"{self.kernel}: edges must name nodes that exist, and for a maximum 1 to 256 each")
        if answer != 0:
            raise MemoryError(f"{self.kernel} found no memory for its sums; take smaller batches")


def _in_memory(tensor: Tensor) -> bool:
    if not tensor.is_cpu or tensor.layout != torch.strided or not tensor.is_contiguous() or tensor.is_neg():
        return False
    if isinstance(tensor, FakeTensor):
        return False
    try:
        return tensor.data_ptr() != 0 or tensor.numel() == 0
    except RuntimeError:  # tensors of torch.func have no memory
        return False


def _rows(tensor: Tensor) -> dict[str, int]:
    return {"rows": tensor.numel() // max(1, tensor.shape[-1]), "channels": tensor.shape[-1]}


def _forward(
    call: _Call,
    features: Tensor,
    columns: int,
    bias: Tensor | None,
    moments: bool,
    norm: Line | None,
    residual: bool,
) -> Forward:
    """Take what both convolutions take, and run."""
    *grid, batch, depth = features.shape
    call.features(features.shape, features=features)
    call.parameters((columns,), bias=torch.zeros(columns, dtype=call.computed) if bias is None else bias)
    if norm is not None:
        call.parameters((columns,), **norm._asdict())
    if residual and (norm is None or depth != columns):
        raise ValueError(f"{call.kernel} adds a residual after a norm to as many channels, not {depth} to {columns}")
    result = empty((*grid, batch, columns), call.stored)
    measured = torch.empty(2, columns, dtype=torch.float64) if moments else None
    if measured is not None:
        call.values |= {"mean": measured[0], "scatter": measured[1]}
    call.values |= {"measures": moments, "normalises": norm is not None, "adds_features": residual}
    call.run(batch=batch, in_channels=depth, out_channels=columns, result=result)
    return Forward(result, measured)


def _backward(
    call: _Call, gradient: Tensor, features: Tensor | None, weight: Tensor, wanted: bool, before: Norm | None
) -> Backward:
    """Take what both convolutions take, and run."""
    depth, columns = weight.shape[-2:]
    shape = (*gradient.shape[:3], depth)
    call.features(gradient.shape, gradient=gradient)
    if before is not None:
        call.features(shape, before=before.input)
        call.parameters((depth,), scale=before.scale, shift=before.shift, mean=before.mean)
        if not wanted:
            raise ValueError(f"{call.kernel} sums a gradient for the norm before only where it is wanted")
    elif features is None:
        raise ValueError(f"{call.kernel} needs features, or before with the norm that makes them")
    read = features if before is None or features is not None else before.input
    assert read is not None
    call.features(shape, features=read)
    call.values |= {"on_line": features is None, "wants_features": wanted, "sums_before": before is not None}
    sums = None if before is None else torch.empty(2, depth, dtype=torch.float64)
    feature_gradient = empty(shape, call.stored) if wanted else None
    found = Backward(feature_gradient, torch.zeros(weight.shape, dtype=call.computed), sums)
    call.values |= {"features_gradient": feature_gradient, "weight_gradient": found.weight, "sums": sums}
    call.run(batch=gradient.shape[2], in_channels=depth, out_channels=columns)
    return found


def _convolutions(channels: int) -> dict[str, Callable[[], object]]:
    """Return calls of the convolutions of bfloat16 features on 4 spheres of 64 vertices in rings, batch 4."""
    spheres, vertices, degree = 4, 64, 6
    nodes = torch.arange(spheres * vertices, dtype=torch.int32, device="cpu")[:, None]
    steps = torch.arange(1, degree + 1, dtype=torch.int32, device="cpu")
    ring = (nodes // vertices * vertices + (nodes + steps) % vertices).flatten().to(torch.int32)
    offsets = torch.arange(0, len(ring) + 1, degree, dtype=torch.int32, device="cpu")
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float32, device="cpu").to(dtype)

    features = draw(spheres, vertices, 4, channels, dtype=torch.bfloat16)
    weight = draw(3, channels, channels)
    line = Line(draw(channels), draw(channels))
    return {
        "intra_forward": lambda: intra_forward(features, weight[0], None, ring, offsets, norm=line),
        "intra_backward": lambda: intra_backward(features, features, weight[0], ring, offsets),
        "radial_forward": lambda: radial_forward(features, weight, None, norm=line),
        "radial_backward": lambda: radial_backward(features, features, weight),
    }


@cache
def _libraries(stored: torch.dtype) -> dict[str, ctypes.CDLL] | None:
    """Load the units for features stored so."""
    name = _NAMES[stored]
    try:
        paths = build.libraries([unit for unit in build.UNITS if unit.split("_")[0] == name])
        return {unit: ctypes.CDLL(str(path)) for unit, path in paths.items()}
    except (build.CannotBuild, OSError) as error:
        _tell(str(error))
        return None


@cache
def _tell(reason: str) -> None:
    """Say once in a process why there are no kernels."""
    LOGGER.warning(
        "there are no compiled kernels: %s; the layers run on torch alone, which is slower (CSGNN_KERNELS=off leaves "
        "the kernels out without a word)",
        reason,
    )
