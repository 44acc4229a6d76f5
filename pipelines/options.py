"""What programs with few options share: a parser whose complaints are one sentence, devices, folders for results."""

from __future__ import annotations

import argparse
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import torch

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.trust import EVERYTHING, trusting


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence and an `InputError`."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise InputError(f"{message}; --help lists the options")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``; see `as_trusted`."""
    text = "let a run or checkpoint name a class from outside of this package, which is run: as trusted as a program"
    parser.add_argument("--trust", action="store_true", help=text)


def as_trusted(options: argparse.Namespace) -> AbstractContextManager[None]:
    """Let files name classes from anywhere, if the options say so."""
    return trusting(*([EVERYTHING] if options.trust else []))


def device(name: str | None) -> torch.device:
    """Return the device of a name; without one a GPU, if there is one, else the CPU."""
    try:
        chosen = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used here; give cpu or leave it out") from error
    return chosen


def num_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_folder(place: str | None, name: str, kept: str) -> Path:
    """Return a folder for results: the named one, unless it has some, or the next free one under ``runs``."""
    from csgnn_dgl.training.runs import claim_folder

    if place is None:
        return claim_folder(Path("runs"), name)
    check_free(place, kept)
    return Path(place)


def check_free(place: str | None, kept: str) -> None:
    """Refuse a named folder that has results; told before the work, not after it."""
    if place is not None and (Path(place) / kept).exists():
        raise InputError(f"{place} has results already ({kept}); name another folder with --output")
