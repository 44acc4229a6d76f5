"""The compiled form of the layers: a C++ library for the CPU, called through ctypes.

It takes float32 and float64, and under bfloat16 autocast stores features in two bytes and computes in float32. Compiled
by g++ when first needed, for the processor at hand; nothing else in the package needs it. Where there is no
compiler, or the environment has ``CSGNN_KERNELS=off``, the layers run on torch.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

import torch
from torch import Tensor

from csgnn_dgl.nn.kernels.build import compiled_library

MAX_TAPS = 64
_NAMES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


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


def available() -> bool:
    """Whether the compiled kernels can be used in this process; compiles them if they are not yet."""
    return os.environ.get("CSGNN_KERNELS", "on") != "off" and _library() is not None


def storage(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which features of `dtype` are stored: bfloat16 under its autocast, else `dtype` itself."""
    rounded = torch.is_autocast_enabled("cpu") and dtype != torch.float64
    return torch.get_autocast_dtype("cpu") if rounded else dtype


def fit(features: Tensor, weight: Tensor | None = None) -> bool:
    """Whether the kernels take these features, and weights of a layer, as they are and under autocast as it is."""
    stored = storage(features.dtype)
    return (
        features.device.type == "cpu"
        and features.numel() > 0
        and stored in _NAMES
        and (weight is None or weight.dtype == (torch.float32 if stored == torch.bfloat16 else stored))
        and not torch.compiler.is_compiling()
        and available()
    )


def call(name: str, dtype: torch.dtype, *arguments: Tensor | int | None) -> None:
    """Call the kernel `name` for `dtype`; tensors must be contiguous, None is a null pointer.

    Parameters
    ----------
    name
        A function of ``concentric.cpp`` without the name of its type.
    dtype
        That of the features: float32, float64 or bfloat16.
    arguments
        As there: tensors as pointers, numbers as int64.
    """
    library = _library()
    assert library is not None
    # OpenMP keeps the number of threads for each thread that calls it; torch sets it where it runs itself.
    library.use_threads(torch.get_num_threads())
    getattr(library, f"{name}_{_NAMES[dtype]}")(*map(_convert, arguments))


def _convert(argument: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous() and argument.device.type == "cpu"
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_void_p(None) if argument is None else ctypes.c_int64(argument)
