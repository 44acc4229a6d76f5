"""The compiled form of the layers: a C++ library for float32 and float64 on the CPU, called through ctypes.

Compiled by g++ when first needed, for the processor at hand; nothing else in the package needs it. Where there is no
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
_NAMES = {torch.float32: "float32", torch.float64: "float64"}


@cache
def _library() -> ctypes.CDLL | None:
    path = compiled_library()
    return None if path is None else ctypes.CDLL(str(path))


def available() -> bool:
    """Whether the compiled kernels can be used in this process; compiles them if they are not yet."""
    return os.environ.get("CSGNN_KERNELS", "on") != "off" and _library() is not None


def fit(*tensors: Tensor) -> bool:
    """Whether the kernels take these tensors: all on the CPU, of one dtype, float32 or float64, no autocast."""
    dtype = tensors[0].dtype
    return (
        dtype in _NAMES
        and all(tensor.device.type == "cpu" and tensor.dtype == dtype for tensor in tensors)
        and all(tensor.numel() > 0 for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
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
        float32 or float64.
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
