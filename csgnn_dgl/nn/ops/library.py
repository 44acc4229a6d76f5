"""The C++ kernels as Python functions on tensors: arguments checked, results allocated, nothing differentiated.

The kernels run on the CPU. They take float32, float64 and bfloat16 features; with bfloat16, weights, norms and their
gradients are float32, and so are products and sums. They are compiled by g++ when first needed, for the processor at
hand; where there is no compiler, or the environment has ``CSGNN_KERNELS=off``, `available` says so.

Every function takes contiguous tensors in memory and raises ValueError for others before anything is computed, so that
no argument ends the interpreter. The same number of threads gives the same bits again.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from csgnn_dgl.allocator import empty
from csgnn_dgl.nn.ops.build import compiled_library

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


def available() -> bool:
    """Whether the compiled kernels can be used in this process; compiles them if they are not yet."""
    return os.environ.get("CSGNN_KERNELS", "on") != "off" and _library() is not None


def storage(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which features of `dtype` are stored: bfloat16 under its autocast, else `dtype` itself."""
    rounded = torch.is_autocast_enabled("cpu") and dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if rounded else dtype


def computed(stored: torch.dtype) -> torch.dtype:
    """Return the dtype of weights, norms and sums beside features that are stored as `stored`."""
    return torch.float32 if stored == torch.bfloat16 else stored


def fit(features: Tensor, weight: Tensor | None = None) -> bool:
    """Whether the kernels take these features, and weights of a layer, as they are and under autocast as it is."""
    stored = storage(features.dtype)
    return (
        features.device.type == "cpu"
        and features.numel() > 0
        and stored in _NAMES
        and (weight is None or weight.dtype == computed(stored))
        and not torch.compiler.is_compiling()
        and available()
    )


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
    """Sum the sources of each node and multiply by the weight: y_v = Σ_{u → v} x_u W + b.

    Parameters
    ----------
    features
        (R, V, B, C).
    weight, bias
        (C, F) and (F,).
    sources, offsets
        int32: node v of the R·V nodes reads ``sources[offsets[v]:offsets[v + 1]]``.
    moments
        Measure the result for a norm.
    norm
        A norm with its ReLU to apply to the result.
    residual
        Add the features to what `norm` made; needs C = F.

    Returns
    -------
    Forward
        Result (R, V, B, F).
    """
    at = _Checked("intra_forward", features)
    at.features("features", features, 4)
    spheres, vertices, batch, depth = features.shape
    at.parameter("weight", weight, (depth, *weight.shape[-1:]))
    columns = weight.shape[1]
    at.edges("sources", sources, "offsets", offsets, spheres * vertices)
    result, measured = _after(at, (spheres, vertices, batch, columns), bias, moments, norm, residual and depth)
    edges, sizes = (sources, offsets), (spheres * vertices, batch, depth, columns)
    then = _then(measured, norm, features if residual else None)
    at.call(features, weight, bias, *edges, result, *sizes, *then)
    return Forward(result, measured)


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
    """Convolve along the radial edges, with zeros beyond the ends: y_r = Σ_k x_{r + k - K // 2} W_k + b.

    Parameters
    ----------
    features
        (R, V, B, C).
    weight, bias
        (K, C, F) with K odd, at most `MAX_TAPS`, and (F,).
    line
        Read relu(scale · x + shift) instead of the features x.
    moments, norm, residual
        As in `intra_forward`; without `line` where `residual`.

    Returns
    -------
    Forward
        Result (R, V, B, F).
    """
    at = _Checked("radial_forward", features)
    at.features("features", features, 4)
    spheres, vertices, batch, depth = features.shape
    taps = at.taps(weight, (depth, *weight.shape[-1:]))
    columns = weight.shape[2]
    if line is not None:
        at.channels("line", line, depth)
        if residual:
            raise ValueError("radial_forward adds no residual to features on a line; apply the line first")
    result, measured = _after(at, (spheres, vertices, batch, columns), bias, moments, norm, residual and depth)
    sizes = (spheres, vertices, batch, taps, depth, columns)
    then = _then(measured, norm, features if residual else None)
    at.call(features, weight, bias, result, *sizes, *(line or (None, None)), *then)
    return Forward(result, measured)


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
    """Return the gradients of `intra_forward`.

    Parameters
    ----------
    gradient
        (R, V, B, F), of the convolution's result.
    features
        (R, V, B, C); None: relu(scale · y + shift) of `before`.
    weight
        (C, F).
    targets, offsets
        int32: node v is read by ``targets[offsets[v]:offsets[v + 1]]``.
    wanted
        Whether to return the gradient of the features.
    residual
        (R, V, B, C): added to the gradient of the features.
    before
        The norm that made the features: sum their gradient for it, as `norm_sums` does.

    Returns
    -------
    Backward
        (R, V, B, C), (C, F) and (2, C) float64.
    """
    at = _Checked("intra_backward", gradient)
    at.features("gradient", gradient, 4)
    spheres, vertices, batch, columns = gradient.shape
    depth = len(weight)
    at.parameter("weight", weight, (depth, columns))
    at.edges("targets", targets, "offsets", offsets, spheres * vertices)
    shape = (spheres, vertices, batch, depth)
    found = _before(at, shape, features, weight, wanted, before)
    if residual is not None:
        at.features("residual", residual, shape)
    sizes = (spheres * vertices, batch, depth, columns)
    made = (found.features, residual if wanted else None, found.weight)
    at.call(gradient, features, weight, targets, offsets, *made, *sizes, *(before or (None,) * 4), found.sums)
    return found


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
    """Return the gradients of `radial_forward`.

    Parameters
    ----------
    gradient
        (R, V, B, F), of the convolution's result, or of what a norm made of it.
    features, wanted, before
        As in `intra_backward`.
    weight
        (K, C, F).
    result, norm
        The convolution's result (R, V, B, F) and its norm, where the gradient is that of the norm's output.

    Returns
    -------
    Backward
        (R, V, B, C), (K, C, F) and (2, C) float64.
    """
    at = _Checked("radial_backward", gradient)
    at.features("gradient", gradient, 4)
    spheres, vertices, batch, columns = gradient.shape
    depth = weight.shape[1] if weight.dim() == 3 else -1
    taps = at.taps(weight, (depth, columns))
    if (result is None) != (norm is None):
        raise ValueError("radial_backward needs result and norm both, or none of them")
    if result is not None and norm is not None:
        at.features("result", result, gradient.shape)
        at.channels("norm", norm, columns)
    found = _before(at, (spheres, vertices, batch, depth), features, weight, wanted, before)
    given = (gradient, result, *(norm or (None,) * 5), features, weight)
    sizes = (spheres, vertices, batch, taps, depth, columns)
    at.call(*given, found.features, found.weight, *sizes, *(before or (None,) * 4), found.sums)
    return found


def norm_forward(y: Tensor, line: Line, residual: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Return relu(scale · y + shift), plus the residual: (..., F), in `out` if it is given (which may be y)."""
    at = _Checked("norm_forward", y)
    at.features("y", y)
    at.channels("line", line, y.shape[-1])
    if residual is not None:
        at.features("residual", residual, y.shape)
    result = empty(tuple(y.shape), y.dtype) if out is None else out
    at.features("out", result, y.shape)
    at.call(y, *line, residual, result, y.numel() // y.shape[-1], y.shape[-1])
    return result


def norm_sums(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the sums of the gradient that the ReLU lets through, and of the same times (y - mean): (2, F) float64."""
    at = _Checked("norm_sums", gradient)
    at.features("gradient", gradient)
    columns = gradient.shape[-1]
    at.norm("norm", norm, gradient.shape)
    sums = torch.empty(2, columns, dtype=torch.float64)
    at.call(gradient, *norm, sums, gradient.numel() // columns, columns)
    return sums


def norm_backward(gradient: Tensor, y: Tensor, norm: NormGradient) -> Tensor:
    """Return the gradient (..., F) of a norm's input y from that of its output."""
    at = _Checked("norm_backward", gradient)
    at.features("gradient", gradient)
    at.features("y", y, gradient.shape)
    columns = gradient.shape[-1]
    at.channels("norm", norm, columns)
    result = empty(tuple(gradient.shape), gradient.dtype)
    at.call(gradient, y, *norm, result, gradient.numel() // columns, columns)
    return result


def max_forward(
    features: Tensor, sources: Tensor, offsets: Tensor, *, winners: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Maximum over the sources of each target, and its place among them; the first of equal ones, a NaN before all.

    Parameters
    ----------
    features
        (sources, M).
    sources, offsets
        int32: target t reads ``sources[offsets[t]:offsets[t + 1]]``, at least one and at most 256.
    winners
        Whether the places are wanted.

    Returns
    -------
    tuple
        (targets, M), and the same in uint8 or None.
    """
    at = _Checked("max_forward", features)
    at.features("features", features, 2)
    at.edges("sources", sources, "offsets", offsets)
    shape = (len(offsets) - 1, features.shape[1])
    maximum = empty(shape, features.dtype)
    places = empty(shape, torch.uint8) if winners else None
    at.call(features, sources, offsets, maximum, places, *shape)
    return maximum, places


def max_backward(gradient: Tensor, winners: Tensor, targets: Tensor, places: Tensor, offsets: Tensor) -> Tensor:
    """Return the gradient of `max_forward`'s features.

    Parameters
    ----------
    gradient, winners
        (targets, M), the latter from `max_forward`.
    targets, places, offsets
        Source s is read by ``targets[offsets[s]:offsets[s + 1]]``, int32, in the ``places`` of their lists, uint8.

    Returns
    -------
    torch.Tensor
        (sources, M).
    """
    at = _Checked("max_backward", gradient)
    at.features("gradient", gradient, 2)
    at.tensor("winners", winners, torch.uint8, gradient.shape)
    at.edges("targets", targets, "offsets", offsets)
    at.tensor("places", places, torch.uint8, targets.shape)
    result = empty((len(offsets) - 1, gradient.shape[1]), gradient.dtype)
    at.call(gradient, winners, targets, places, offsets, result, *result.shape)
    return result


def overall_max(features: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum of each column of (rows, M), at most 2³¹ - 1 rows, and the row it is in: (M,), and (M,) int64."""
    at = _Checked("overall_max", features)
    at.features("features", features, 2)
    if len(features) >= 2**31:
        raise ValueError(f"overall_max takes 2³¹ - 1 rows at the most, got {len(features)}")
    maximum = empty((features.shape[1],), features.dtype)
    winners = empty((features.shape[1],), torch.int64)
    at.call(features, maximum, winners, *features.shape)
    return maximum, winners


class _Checked:
    """The checks of a kernel's arguments, then its call."""

    def __init__(self, kernel: str, features: Tensor) -> None:
        self.kernel = kernel
        if features.dtype not in _NAMES:
            raise ValueError(f"{kernel} takes float32, float64 and bfloat16 features, got {features.dtype}")
        self.stored, self.computed = features.dtype, computed(features.dtype)

    def tensor(self, name: str, tensor: Tensor, dtype: torch.dtype, shape: tuple[int, ...] | int | None = None) -> None:
        """Raise ValueError unless a tensor has this dtype, this shape or number of axes, and lies in memory as is."""
        fine = shape is None or (tensor.dim() == shape if isinstance(shape, int) else tensor.shape == shape)
        if not fine or tensor.dtype != dtype or tensor.numel() == 0 or not _in_memory(tensor):
            wanted = "" if shape is None else f" with {shape} axes" if isinstance(shape, int) else f" {tuple(shape)}"
            raise ValueError(
                f"{self.kernel}: {name} must be a contiguous {dtype} tensor{wanted} in the memory of the CPU and not "
                f"empty, got a {type(tensor).__name__} of {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            )

    def features(self, name: str, tensor: Tensor, shape: tuple[int, ...] | int | None = None) -> None:
        self.tensor(name, tensor, self.stored, shape)

    def parameter(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        self.tensor(name, tensor, self.computed, shape)

    def channels(self, name: str, line: tuple[Tensor, ...], channels: int) -> None:
        for field, tensor in zip(type(line)._fields, line, strict=True):  # type: ignore[attr-defined]
            self.parameter(f"{name}.{field}", tensor, (channels,))

    def norm(self, name: str, norm: Norm, shape: tuple[int, ...]) -> None:
        self.features(f"{name}.input", norm.input, shape)
        for field in ("scale", "shift", "mean"):
            self.parameter(f"{name}.{field}", getattr(norm, field), shape[-1:])

    def taps(self, weight: Tensor, shape: tuple[int, ...]) -> int:
        taps = len(weight)
        self.parameter("weight", weight, (taps, *shape))
        if taps % 2 == 0 or taps > MAX_TAPS:
            raise ValueError(f"{self.kernel}: weight must have an odd number of taps below {MAX_TAPS}, got {taps}")
        return taps

    def edges(self, name: str, nodes: Tensor, offsets_name: str, offsets: Tensor, count: int | None = None) -> None:
        self.tensor(name, nodes, torch.int32, 1)
        self.tensor(offsets_name, offsets, torch.int32, 1 if count is None else (count + 1,))

    def call(self, *arguments: Tensor | int | None) -> None:
        """Call the kernel: tensors as pointers, None as null."""
        library = _library()
        if library is None:
            raise ValueError(f"{self.kernel} needs the compiled kernels, for which there is no compiler; use torch")
        # OpenMP keeps the number of threads for each thread that calls it; torch sets it where it runs itself.
        library.use_threads(torch.get_num_threads())
        getattr(library, f"{self.kernel}_{_NAMES[self.stored]}")(*map(_convert, arguments))


def _in_memory(tensor: Tensor) -> bool:
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or not tensor.is_contiguous() or tensor.is_neg():
        return False
    try:
        return tensor.data_ptr() != 0  # fake tensors and others without memory have none, or say so
    except RuntimeError:
        return False


def _convert(argument: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)


def _after(
    at: _Checked, shape: tuple[int, ...], bias: Tensor | None, moments: bool, norm: Line | None, residual: int
) -> tuple[Tensor, Tensor | None]:
    """Check what follows a convolution; return its result and moments, to be written."""
    columns = shape[-1]
    if bias is not None:
        at.parameter("bias", bias, (columns,))
    if norm is not None:
        at.channels("norm", norm, columns)
    if residual and (norm is None or residual != columns):
        raise ValueError(
            f"{at.kernel} adds a residual after a norm and to as many channels, not {residual} to {columns}"
        )
    result = empty(shape, at.stored)
    return result, torch.empty(2, columns, dtype=torch.float64) if moments else None


def _then(moments: Tensor | None, norm: Line | None, residual: Tensor | None) -> tuple[Tensor | None, ...]:
    return (*((None, None) if moments is None else moments.unbind()), *(norm or (None, None)), residual)


def _before(
    at: _Checked, shape: tuple[int, ...], features: Tensor | None, weight: Tensor, wanted: bool, before: Norm | None
) -> Backward:
    """Check what came before a convolution; return its gradients, to be written (the weight's: added to)."""
    if features is not None:
        at.features("features", features, shape)
    elif before is None:
        raise ValueError(f"{at.kernel} needs features, or before with the norm that makes them")
    if before is not None:
        at.norm("before", before, shape)
        if not wanted:
            raise ValueError(f"{at.kernel} sums a gradient for the norm before only where it is wanted")
    sums = None if before is None else torch.empty(2, shape[-1], dtype=torch.float64)
    return Backward(empty(shape, at.stored) if wanted else None, torch.zeros_like(weight), sums)


@cache
def _library() -> ctypes.CDLL | None:
    for _ in range(2):
        path = compiled_library()
        if path is None:
            break
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            path.unlink(missing_ok=True)  # damaged: once more
    return None
