"""What compare and ablation share: options, carrying a sweep out, and what is told of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csgnn_dgl.tasks.classification import ModelNetData
from csgnn_dgl.tasks.classification.comparison import Candidate, Comparison, entries_of, headline, measure_costs
from csgnn_dgl.training.config import Parser
from csgnn_dgl.training.sweep import Budget, Sweep, locked
from pipelines.terminal import INTERRUPTED, say

FAILED = 1
FIXED = {"train_rotation", "test_rotations", "num_workers", "seed", "progress"}
"""Options of the data that the sweep sets."""


def add_options(parser: Parser, output: str, minutes: float, rotations: Sequence[str]) -> None:
    """Add the options that a sweep of classifiers has."""
    parser.add_argument("--output", type=str, default=output, help="Folder of the sweep; the same one goes on with it.")
    parser.add_argument("--epochs", type=int | None, default=None, help="Epochs of each training.")
    parser.add_argument(
        "--minutes",
        type=float | None,
        default=None,
        help="Minutes of one core for each training: as many whole epochs as fit, at least one. Some steps of each "
        f"model are timed for it in the beginning. {minutes:g} where no --epochs are given.",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds; every training is done with each.")
    parser.add_argument(
        "--rotations",
        nargs="+",
        choices=["z", "SO3"],
        default=list(rotations),
        help="Rotations that are trained under: z (tested under z and SO3), SO3 (tested under SO3).",
    )
    jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=jobs, help="Trainings at a time, each on one core.")
    parser.add_class_arguments(ModelNetData, "data", skip=FIXED)


def with_source(words: Sequence[str]) -> list[str]:
    """Let ``--data FOLDER`` mean ``--data.source FOLDER``."""
    return ["--data.source" + word[6:] if word == "--data" or word.startswith("--data=") else word for word in words]


def carry_out(
    candidates: Sequence[Candidate],
    options: Any,
    minutes: float,
    schedule: str,
    again: Sequence[str],
    note: Callable[[str], None] = say,
) -> int:
    """Train, test, and print and write the table; return the exit code."""
    data: Mapping[str, Any] = options.data.as_dict()
    nothing = options.epochs is None and options.minutes is None
    budget = Budget(options.epochs, minutes if nothing else options.minutes)
    entries = entries_of(candidates, data, options.seeds, options.rotations)
    facts = {"data": data, "seeds": options.seeds, "schedule": schedule}
    folder = Path(options.output)
    try:
        with locked(folder):
            sweep = Sweep(folder)
            sweep.begin(entries, budget, facts)
            failed = sweep.carry_out(options.jobs, note, headline)
            measure_costs(sweep, note)
            comparison = Comparison.of(sweep)
            comparison.write(folder)
    except KeyboardInterrupt:
        say(f"stopped; whole epochs are kept, go on with: {shlex.join(again)}")
        return INTERRUPTED
    say(f"\n{comparison}\n")
    say(f"table, figure and data in {folder / 'comparison.md'}, .png and .json")
    for name, why in failed.items():
        say(f"{name} is missing, because it failed: {why}")
    return FAILED if failed else 0
