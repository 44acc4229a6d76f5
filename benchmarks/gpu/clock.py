"""Times of what runs on a device, by its own clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

SHORTEST = 1e-3
"""Seconds: a shorter action is repeated that long between two looks at the clock."""
LEAST, MOST = 3, 100
"""Looks at the clock."""


def synchronize(device: str) -> None:
    """Wait until the device has done what it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()


def quartiles(milliseconds: Sequence[float]) -> dict[str, Any]:
    """Return median, quartiles and number of the values."""
    lower, median, upper = np.percentile(milliseconds, [25, 50, 75]).tolist()
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper, "repeats": len(milliseconds)}


def measure(action: Callable[[], object], device: str, seconds: float = 1.0, warm_up: int = 3) -> dict[str, Any]:
    """Time an action in milliseconds.

    On a GPU the times are those between events on its stream, with nothing waiting between them: an action that does
    not wait for the device itself is timed at the rate at which it can be repeated.

    Parameters
    ----------
    action
        What is timed.
    device
        ``"cuda"`` or ``"cpu"``.
    seconds
        How long to measure, about.
    warm_up
        Runs before that do not count.

    Returns
    -------
    dict
        As `quartiles`.
    """
    for _ in range(warm_up):
        action()
    synchronize(device)
    start = time.perf_counter()
    action()
    synchronize(device)
    once = max(time.perf_counter() - start, 1e-7)
    inner = max(1, math.ceil(SHORTEST / once))
    repeats = min(MOST, max(LEAST, math.ceil(seconds / once / inner)))
    times = _events if device == "cuda" else _host
    return quartiles([value / inner for value in times(action, inner, repeats)])


def _events(action: Callable[[], object], inner: int, repeats: int) -> list[float]:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        for _ in range(inner):
            action()
        event.record()
    torch.cuda.synchronize()
    return [float(before.elapsed_time(after)) for before, after in pairwise(events)]


def _host(action: Callable[[], object], inner: int, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            action()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def attempt(
    errors: dict[str, str], name: str, function: Callable[..., Any], *arguments: Any, **options: Any
) -> dict[str, Any] | None:
    """Return what a function returns, or None where it fails, with the error under `name`.

    An error that leaves the GPU unusable for the process is raised.
    """
    try:
        found: dict[str, Any] = function(*arguments, **options)
    except Exception as error:
        if is_fatal(error):
            raise
        errors[name] = describe(error)
        return None
    return found


def is_fatal(error: Exception) -> bool:
    """Say whether a process can do nothing more on its GPU after this error."""
    text = str(error)
    fatal = "CUDA error" in text or "device-side assert" in text or "illegal memory access" in text
    return fatal and not isinstance(error, torch.cuda.OutOfMemoryError)


def describe(error: BaseException) -> str:
    """Return the type and the first lines of an error."""
    return f"{type(error).__name__}: {str(error).strip()[:600]}"
