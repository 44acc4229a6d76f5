"""Measure what the package costs on this machine, side by side with what one would write without it.

Without arguments it times training and inference at two sizes and prints a table.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from benchmarks.contenders import CONTENDERS, MODES
from benchmarks.harness import Session
from benchmarks.machine import describe
from benchmarks.mapping import MEMORY_MODES
from benchmarks.sizes import SIZES
from benchmarks.suite import COMMANDS
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from pipelines.terminal import guarded, say

REGRESSION = 1


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence and an `InputError`."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists the options")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def share(text: str) -> float:
    """Read a share from 0 up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 up to 1")
    return value


LEVEL: dict[str, Any] = {"type": int, "choices": range(6)}
CONTENDER: dict[str, Any] = {"choices": CONTENDERS, "metavar": "NAME"}
OPTIONS: dict[str, dict[str, Any]] = {
    "sizes": {"nargs": "+", "choices": SIZES, "help": "; ".join(f"{name}: {size}" for name, size in SIZES.items())},
    "size": {"choices": SIZES, "help": "size of the model"},
    "contenders": {
        "nargs": "+",
        "help": "; ".join(f"{name}: {kind.description}" for name, kind in CONTENDERS.items()),
        **CONTENDER,
    },
    "contender": {"help": "who is timed", **CONTENDER},
    "modes": {"nargs": "+", "choices": MODES, "help": "what is timed"},
    "memory_modes": {"nargs": "+", "choices": MEMORY_MODES, "metavar": "MODE", "help": "; ".join(MEMORY_MODES)},
    "repeats": {"type": positive, "help": "rounds that are measured"},
    "batch": {"type": positive, "help": "samples of a batch, instead of the size's own"},
    "device": {"choices": ("cpu", "cuda"), "help": "where the models run"},
    "no_roofline": {"action": "store_true", "help": "leave the roofline out"},
    "verbose": {"action": "store_true", "help": "also print the roofline layer by layer"},
    "level": {"help": "level of the finest spheres", **LEVEL},
    "levels": {"nargs": "+", "help": "levels of the second table", **LEVEL},
    "num_spheres": {"type": positive, "help": "number of spheres"},
    "counts": {"nargs": "+", "type": positive, "help": "numbers of spheres"},
    "channels": {"type": positive, "help": "fine spheres per sphere"},
    "base_width": {"type": positive, "help": "width F of the model"},
    "num_points": {"type": positive, "help": "points per cloud"},
    "source": {"help": "data to load, as data.source of pipelines.modelnet"},
    "slack": {"type": share, "help": "share by which a ratio may be worse than stored"},
    "ratios": {"type": Path, "help": "file of the stored ratios"},
    "store": {"action": "store_true", "help": "store what is measured instead of comparing"},
}


def build_parser() -> Parser:
    """Build the parser: the options of a command are the keywords of its function."""
    parser = Parser(prog="python -m pipelines.benchmark", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, function in COMMANDS.items():
        text = inspect.getdoc(function)
        command = commands.add_parser(
            name,
            help=text,
            description=text,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="folder for JSON and figures")
        command.add_argument("--threads", type=positive, help="threads of torch; by default torch's own choice")
        for option, parameter in list(inspect.signature(function).parameters.items())[1:]:
            flag = "--" + option.replace("no_", "no-", 1) if option.startswith("no_") else "--" + option
            command.add_argument(flag, default=parameter.default, **OPTIONS[option])
    return parser


def bar(numbers: Iterable[int], title: str) -> Iterable[int]:
    """Show progress."""
    return tqdm(numbers, title, file=sys.stderr, disable=not sys.stderr.isatty())


def run(arguments: Sequence[str]) -> int:
    """Parse the command line, measure, print, and keep the results."""
    words = list(arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["speed", *words]
    options = vars(build_parser().parse_args(words))
    name, output, threads = (options.pop(key) for key in ("command", "output", "threads"))
    outcome = COMMANDS[name](Session(threads, bar, say), **options)
    machine = describe(threads, " ".join(["python -m pipelines.benchmark", *words]))
    with atomic_write(output / f"{name}.json") as file:
        file.write_text(json.dumps({"machine": machine, **outcome.results}, indent=1), encoding="utf-8")
    if outcome.draw is not None:
        with atomic_write(output / f"{name}.png") as file:
            outcome.draw(file)
    say(f"results in {output / name}.json")
    return 0 if outcome.well else REGRESSION


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
