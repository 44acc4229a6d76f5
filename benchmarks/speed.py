"""Time per sample of all contenders at one size, and their share of the roof."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import compare, kind_of
from benchmarks.roof import Mode, costs, height
from benchmarks.sizes import Size
from benchmarks.timing import Progress, Turn, Worker, interleave, summary

ROOFED = {"auto": "float32", "auto-bf16": "bfloat16", "fast": "float32"}
"""Contenders that are measured against a roof, and its type."""
WIDTH = {"float32": 4, "bfloat16": 2}
OPPONENTS = ("composition-as-is", "composition")
"""Whom the others are compared with: the first of these that took part."""


def measure_speed(
    size: Size,
    contenders: Sequence[str],
    modes: Sequence[Mode],
    repeats: int,
    threads: int | None,
    title: str,
    progress: Progress,
    roof: bool = True,
) -> dict[str, Any]:
    """Compare the contenders' outputs, then time them in turns.

    There is one process for each setting of the allocator, and only one of them computes at a time.

    Parameters
    ----------
    size
        The model and batch.
    contenders
        Keys of `CONTENDERS`.
    modes
        What is timed: training steps, inferences or both.
    repeats
        Rounds.
    threads
        Threads of torch; its own choice if None.
    title, progress
        How the rounds are shown.
    roof
        Whether to measure the roof in the same rounds.

    Returns
    -------
    dict
        Plain values: seconds per sample of each contender and mode, speedups, the roof and the shares of it.

    Raises
    ------
    InputError
        If a contender is unknown or missing, or a process ran out of memory.
    RuntimeError
        If two contenders do not compute the same.
    """
    kinds = {name: kind_of(name) for name in contenders}
    options = dataclasses.asdict(size)
    with contextlib.ExitStack() as stack:
        workers: dict[bool, Worker] = {}
        outputs, turns = {}, []
        for name, kind in kinds.items():
            keep = kind.keep_blocks
            if keep not in workers:
                workers[keep] = stack.enter_context(Worker(keep, threads))
            facts = workers[keep].make("contenders:make", name, contender=name, size=options, modes=list(modes))
            outputs[name] = facts["outputs"]
            turns += [Turn(f"{name}/{mode}", workers[keep], name, mode) for mode in modes]
        differences = compare(outputs, slack=1.0 if size.num_bins is None else 3.0)
        roofs = sorted({ROOFED[name] for name in contenders if roof and name in ROOFED}, reverse=True)
        for dtype in roofs:
            workers[True].make("roof:make", dtype, size=options, modes=list(modes), dtype=dtype)
            turns.append(Turn(f"roof {dtype}", workers[True], dtype, "measure"))
        seconds = interleave(turns, repeats, title, progress)
    times: dict[str, dict[str, Any]] = {
        name: {mode: summary([value / size.batch for value in seconds[f"{name}/{mode}"]]) for mode in modes}
        for name in contenders
    }
    heights = {dtype: _roof(size, modes, dtype, seconds) for dtype in roofs}
    return {
        "size": options,
        "differences": differences,
        "seconds_per_sample": times,
        "opponent": opponent(contenders),
        "speedups": speedups(times),
        "roof": heights,
        "share_of_roof": {
            name: {mode: heights[dtype][mode]["seconds"] / times[name][mode]["median"] for mode in modes}
            for name, dtype in ROOFED.items()
            if name in times and dtype in heights
        },
    }


def _roof(size: Size, modes: Sequence[Mode], dtype: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    prefix = f"roof {dtype}/"
    medians = {
        key.removeprefix(prefix): summary(values)["median"] for key, values in seconds.items() if key.startswith(prefix)
    }
    return {mode: height(costs(size, mode, WIDTH[dtype]), medians, size.batch) for mode in modes}


def opponent(contenders: Sequence[str]) -> str | None:
    """Return whom the others are compared with, or None if no composition took part."""
    return next((name for name in OPPONENTS if name in contenders), None)


def speedups(times: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each contender how many times as fast as the opponent it is, by medians."""
    other = opponent(list(times))
    if other is None:
        return {}
    return {
        name: {mode: times[other][mode]["median"] / result["median"] for mode, result in of_name.items()}
        for name, of_name in times.items()
        if name != other
    }
