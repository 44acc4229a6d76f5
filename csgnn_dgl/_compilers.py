"""Marks for functions that ``torch.compile`` and ``torch.export`` must not look into.

``torch.compiler`` has decorators for this, which import all of the compiler: that costs every start two seconds.
"""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def asked_once(function: Function) -> Function:
    """Mark a function whose result is a constant to compilers (``torch.compiler.assume_constant_result``)."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def left_out(function: Function) -> Function:
    """Mark a function that compilers leave to Python (``torch.compiler.disable``)."""
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    return function
