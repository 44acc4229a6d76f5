"""Which products convolutions of bfloat16 features are made with: those of floats, or those of twins, in bfloat16.

Features are stored in two bytes in both. Some processors multiply bfloat16 numbers in pairs, twins, faster than floats,
some at the same rate, and then rounding the factors costs time; which instructions a processor has does not tell. So
the convolutions are timed with both when they are first needed, and the times are kept beside the libraries.
``CSGNN_BFLOAT16_PRODUCTS=float32`` or ``=bfloat16`` chooses by hand.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.nn.ops import build

PRODUCTS = {"float32": "bfloat16", "bfloat16": "bfloat16_twins"}
"""The unit whose products are of this type."""
KERNELS = ("intra_forward", "intra_backward", "radial_forward", "radial_backward")
WIDE = 32
"""Channels, of both sides, from which a convolution counts as wide: products of floats do with fewer there."""
VARIABLE = "CSGNN_BFLOAT16_PRODUCTS"
ROUNDS = 5
_MEASURED: ContextVar[str | None] = ContextVar("measured", default=None)

Examples = Callable[[int], Mapping[str, Callable[[], object]]]
"""Returns calls of the convolutions from so many channels to as many, by kernel."""
Times = dict[str, dict[str, float]]
"""Seconds by what was timed, such as ``"radial_forward wide"``, and by the type of the products."""


def unit_for(kernel: str, channels: int, threads: int, examples: Examples) -> tuple[str, int]:
    """Return the unit of a convolution, by the fewer of its channels, and with how many threads it is called.

    `examples` is what is timed.
    """
    measured = _MEASURED.get()
    if measured is not None:
        return PRODUCTS[measured], 1
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        seconds = times(examples)[_name(kernel, channels >= WIDE)]
        chosen = faster(seconds)
    elif chosen not in PRODUCTS:
        raise InputError(f"{VARIABLE} is {chosen!r}; give float32 or bfloat16, or leave it out to take the faster")
    return PRODUCTS[chosen], threads


@cache
def times(examples: Examples) -> Times:
    """Return the times of all convolutions with both products: those that are kept, or new ones, then kept."""
    libraries = build.libraries(list(PRODUCTS.values()))
    path = libraries["bfloat16_twins"].with_suffix(".json")
    try:
        build.assert_ours(path)
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, build.CannotBuild):
        found = measure(examples)
    # Where nothing can be written, the next process measures again.
    with contextlib.suppress(OSError), atomic_write(path, build.MODE) as file:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def faster(seconds: Mapping[str, float]) -> str:
    """Return the type of the products that are made: bfloat16 if it saves a tenth, as floats are rounded less."""
    return "bfloat16" if seconds["bfloat16"] < 0.9 * seconds["float32"] else "float32"


def measure(examples: Examples) -> Times:
    """Time the convolutions with both products by turns, on one thread: the least processor time of several rounds."""
    found: Times = {}
    for wide, channels in ((False, WIDE // 2), (True, 2 * WIDE)):
        for kernel, call in examples(channels).items():
            seconds = found[_name(kernel, wide)] = dict.fromkeys(PRODUCTS, math.inf)
            for _ in range(ROUNDS):
                for product in PRODUCTS:
                    with _measuring(product):
                        start = time.thread_time()
                        call()
                        seconds[product] = min(seconds[product], time.thread_time() - start)
    return found


def _name(kernel: str, wide: bool) -> str:
    return f"{kernel} {'wide' if wide else 'narrow'}"


def _checked(document: Any) -> Times:
    """Return times that are complete, or raise ValueError."""
    names = {_name(kernel, wide) for kernel in KERNELS for wide in (False, True)}
    if not isinstance(document, dict) or document.keys() != names:
        raise ValueError("not the times of these convolutions")
    for seconds in document.values():
        if not isinstance(seconds, dict) or seconds.keys() != PRODUCTS.keys():
            raise ValueError("not the times of both products")
        if not all(isinstance(value, float) and 0 < value < math.inf for value in seconds.values()):
            raise ValueError("not times")
    return document


@contextlib.contextmanager
def _measuring(product: str) -> Iterator[None]:
    token = _MEASURED.set(product)
    try:
        yield
    finally:
        _MEASURED.reset(token)
