"""Whether torch records a computation, and marks for functions that ``torch.compile`` must not look into.

``torch.compiler`` has decorators for this, which import all of the compiler: that costs every start two seconds.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch.utils._python_dispatch import _disable_current_modes

Function = TypeVar("Function", bound=Callable[..., object])


def asked_once(function: Function) -> Function:
    """Mark a function whose result is a constant to compilers (``torch.compiler.assume_constant_result``)."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def left_out(function: Function) -> Function:
    """Mark a function that compilers leave to Python, with all that it calls (``torch.compiler.disable``)."""

    @wraps(function)
    def called(*arguments: Any, **named: Any) -> Any:
        if "torch._dynamo" in sys.modules:
            return torch.compiler.disable(function)(*arguments, **named)
        return function(*arguments, **named)

    called._torchdynamo_disable = True  # type: ignore[attr-defined]
    return cast("Function", called)


def traced() -> bool:
    """Whether torch records the computation: under ``torch.compile``, ``torch.export`` or ``torch.jit.trace``."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def real_tensors() -> AbstractContextManager[Any]:
    """Compute with numbers, whatever mode torch is in (such as ``FakeTensorMode``, in which tensors have none)."""
    return _disable_current_modes()
