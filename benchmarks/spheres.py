"""Table 4 of the paper: how time grows with the number of spheres; and the same over levels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contenders import kind_of
from benchmarks.roof import Mode
from benchmarks.sizes import Size, count_macs, num_vertices
from benchmarks.timing import Progress, Turn, Worker, interleave, summary

MODES: tuple[Mode, ...] = ("training", "inference")
NUM_SPHERES = (1, 8, 16, 24, 32)
LEVELS = (2, 3, 4, 5)
PAPER_GROWTH: dict[Mode, float] = {"training": 4.0, "inference": 3.0}
"""Table 4: time at 32 spheres over time at one."""


def measure_growth(
    sizes: Mapping[str, Size], contender: str, repeats: int, threads: int | None, title: str, progress: Progress
) -> list[dict[str, Any]]:
    """Time one contender at several sizes in turns.

    Parameters
    ----------
    sizes
        What is built, by name.
    contender
        Key of `CONTENDERS`.
    repeats
        Rounds.
    threads
        Threads of torch; its own choice if None.
    title, progress
        How the rounds are shown.

    Returns
    -------
    list of dict
        For each size the seconds per sample and mode, and the seconds per multiply-accumulate of the forward pass.
    """
    with Worker(kind_of(contender).keep_blocks, threads) as worker:
        turns = []
        for name, size in sizes.items():
            options = dataclasses.asdict(size)
            # Without a comparison there is no need for a training step before the first round.
            worker.make("contenders:make", name, contender=contender, size=options, modes=["inference"])
            turns += [Turn(f"{name}/{mode}", worker, name, mode) for mode in MODES]
        seconds = interleave(turns, repeats, title, progress)
    rows = []
    for name, size in sizes.items():
        macs = count_macs(size) / size.batch
        times = {mode: summary([value / size.batch for value in seconds[f"{name}/{mode}"]]) for mode in MODES}
        rows.append(
            {
                "size": dataclasses.asdict(size),
                "macs_per_sample": macs,
                "macs_per_grid_point": macs / (size.num_spheres * num_vertices(size.level)),
                "seconds_per_sample": times,
                "seconds_per_mac": {mode: times[mode]["median"] / macs for mode in MODES},
            }
        )
    return rows


def growth(rows: Sequence[Mapping[str, Any]], mode: Mode) -> list[float]:
    """Return the time at each size over that at the first."""
    first = rows[0]["seconds_per_sample"][mode]["median"]
    return [row["seconds_per_sample"][mode]["median"] / first for row in rows]


def spread(rows: Sequence[Mapping[str, Any]], mode: Mode) -> float:
    """Return by how much the longest time per multiply-accumulate exceeds the shortest, as a share of it."""
    values = [row["seconds_per_mac"][mode] for row in rows]
    return max(values) / min(values) - 1
