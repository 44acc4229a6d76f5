"""What compare and ablation share: options, carrying a sweep out, and what is told of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.trust import EVERYTHING, trusting
from csgnn_dgl.tasks.classification import ModelNetData
from csgnn_dgl.tasks.classification.comparison import (
    TESTED,
    Candidate,
    Comparison,
    entries_of,
    headline,
    measure_costs,
)
from csgnn_dgl.training.config import Parser, check_file, read_yaml
from csgnn_dgl.training.sweep import Budget, Sweep
from pipelines.options import num_cores
from pipelines.terminal import INTERRUPTED, say

FAILED = 1
MINUTES = 0.6
SCHEDULE = "one_cycle"
LEARNING_RATE = 1e-3
"""Where a model brings none of its own."""

FIXED = {"train_rotation", "test_rotations", "num_workers", "seed", "progress"}
"""Options of the data that a sweep sets itself."""


def add_options(parser: Parser, output: str) -> None:
    """Add the options that a sweep of classifiers has; without ``--output`` the caller finds a folder."""
    folder = f"Folder of the sweep; the same one goes on with it. {output} if none is given."
    parser.add_argument("--output", type=str | None, default=None, help=folder)
    parser.add_argument("--epochs", type=int | None, default=None, help="Epochs of each training.")
    minutes = (
        "Minutes of one core for each training: as many whole epochs as fit, at least one. Some steps of each model "
        f"are timed for it in the beginning. {MINUTES:g} where no --epochs are given."
    )
    parser.add_argument("--minutes", type=float | None, default=None, help=minutes)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="Seeds; every training is done with each.")
    rotations = "Rotations that are trained under: z (tested under z and SO3), SO3 (tested under SO3)."
    parser.add_argument("--rotations", nargs="+", choices=list(TESTED), default=None, help=rotations)
    parser.add_argument("--jobs", type=int, default=num_cores(), help="Trainings at a time, each on one core.")
    trust = "Let configs and runs name classes from outside of this package, which are run: as trusted as a program."
    parser.add_argument("--trust", action="store_true", help=trust)
    parser.add_class_arguments(ModelNetData, "data", skip=FIXED)


def with_source(words: Sequence[str]) -> list[str]:
    """Let ``--data FOLDER`` mean ``--data.source FOLDER``."""
    return ["--data.source" + word[6:] if word == "--data" or word.startswith("--data=") else word for word in words]


def trust_of(options: Any) -> AbstractContextManager[None]:
    """Return the context in which files may name what the options allow."""
    return trusting(*([EVERYTHING] if options.trust else []))


def config_from(path: Path) -> dict[str, Any]:
    """Read a config, and make sure that it names nothing that it may not."""
    content = read_yaml(path)
    check_file(path, content)
    return content


def own_options(config: dict[str, Any], network: str | None = None) -> dict[str, Any]:
    """Return what of a config is a model's own: network, learning rate and weight decay."""
    given = config.get("model", {})
    own = {key: given[key] for key in ("network", "learning_rate", "weight_decay") if key in given}
    if "network" not in own:
        if network is None:
            raise InputError("the config names no model.network; give one that does")
        own["network"] = {"class_path": network}
    return {"model": {"learning_rate": LEARNING_RATE, **own, "schedule": SCHEDULE}}


def carry_out(candidates: Sequence[Candidate], options: Any, rotations: Sequence[str], again: Sequence[str]) -> int:
    """Train, test, and print and write the table; return the exit code.

    Parameters
    ----------
    candidates
        The rows of the table.
    options
        What the parser of `add_options` returned.
    rotations
        Rotations that are trained under where the options name none.
    again
        The command that goes on after an interruption.
    """
    data = options.data.as_dict()
    nothing = options.epochs is None and options.minutes is None
    budget = Budget(options.epochs, MINUTES if nothing else options.minutes)
    entries = entries_of(candidates, data, options.seeds, options.rotations or rotations)
    sweep = Sweep(options.output)
    sweep.begin(entries, budget, {"data": data, "seeds": options.seeds, "schedule": SCHEDULE})
    try:
        with sweep.locked():
            failed = sweep.carry_out(options.jobs, say, headline)
            measure_costs(sweep, say)
            comparison = Comparison.of(sweep)
            comparison.write(sweep.folder)
    except KeyboardInterrupt:
        say(f"stopped; whole epochs are kept, go on with: {shlex.join(again)}")
        return INTERRUPTED
    say(f"\n{comparison}\n")
    say(f"table, data and figure in {Path(options.output) / 'comparison.md'}, .json and .png")
    for name, why in failed.items():
        say(f"{name} is missing, because it failed: {why}")
    return FAILED if failed else 0
