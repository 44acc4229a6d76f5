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
from typing import Any

from tqdm import tqdm

from benchmarks.contenders import CONTENDERS
from benchmarks.harness import Session, describe
from benchmarks.sizes import SIZES
from benchmarks.suite import COMMANDS
from csgnn_dgl.files import atomic_write
from pipelines.options import Parser
from pipelines.terminal import guarded, say

REGRESSION = 1


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


SIZE: dict[str, Any] = {"choices": SIZES, "help": "; ".join(f"{name}: {size}" for name, size in SIZES.items())}
WHO = "; ".join(f"{name}: {kind.description}" for name, kind in CONTENDERS.items())
CONTENDER: dict[str, Any] = {"choices": CONTENDERS, "metavar": "NAME", "help": WHO}
OPTIONS: dict[str, dict[str, Any]] = {
    "sizes": {"nargs": "+", **SIZE},
    "size": SIZE,
    "trained": {**SIZE, "help": "size of the model beside whose training data is loaded"},
    "contenders": {"nargs": "+", **CONTENDER},
    "contender": CONTENDER,
    "repeats": {"type": positive, "help": "rounds that are measured"},
    "batch": {"type": positive, "help": "samples of a batch, instead of the size's own"},
    "device": {"choices": ("cpu", "cuda"), "help": "where the models run"},
    "verbose": {"action": "store_true", "help": "also print the roofline layer by layer"},
    "levels": {"nargs": "+", "type": int, "choices": range(6), "help": "levels of the second table"},
    "counts": {"nargs": "+", "type": positive, "help": "numbers of spheres"},
    "store": {"action": "store_true", "help": "store what is measured instead of comparing"},
}


def build_parser() -> Parser:
    """Build the parser: the options of a command are the keywords of its function."""
    parser = Parser(prog="python -m pipelines.benchmark", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    formatter = argparse.ArgumentDefaultsHelpFormatter
    for name, function in COMMANDS.items():
        text = inspect.getdoc(function)
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False, formatter_class=formatter)
        command.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="folder for JSON and figures")
        for option, parameter in list(inspect.signature(function).parameters.items())[1:]:
            command.add_argument(f"--{option}", default=parameter.default, **OPTIONS[option])
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
    name, output = options.pop("command"), options.pop("output")
    outcome = COMMANDS[name](Session(bar, say), **options)
    machine = describe(" ".join(["python -m pipelines.benchmark", *words]))
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
