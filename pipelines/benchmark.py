"""Measure what the package costs on this machine, side by side with what one would write without it.

Without arguments it times training and inference at two sizes and prints a table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from benchmarks.contenders import CONTENDERS, usual
from benchmarks.figures import draw_bars, draw_growth, draw_speed
from benchmarks.loading import measure_loading
from benchmarks.machine import describe
from benchmarks.mapping import measure_mapping
from benchmarks.memory import measure_memory
from benchmarks.regression import BF16, OPPONENT, STORED, compare, ratios, read, store
from benchmarks.sizes import SIZES, Size
from benchmarks.speed import measure_speed
from benchmarks.spheres import LEVELS, MODES, NUM_SPHERES, PAPER_GROWTH, growth, measure_growth, spread
from benchmarks.startup import measure_startup
from benchmarks.tables import (
    check_table,
    growth_table,
    memory_table,
    percent,
    roof_table,
    seconds_table,
    size_text,
    speed_table,
)
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.classifiers.csgnn import DEPTHS
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.benchmark"
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


def grid_level(text: str) -> int:
    """Read a level of the grid."""
    if not text.isdigit() or int(text) not in DEPTHS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no level of the model; give one of {', '.join(map(str, DEPTHS))}"
        )
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


def build_parser() -> Parser:
    """Build the parser: one subcommand for each thing that can be measured."""
    common = Parser(add_help=False)
    common.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="folder for JSON and figures")
    common.add_argument("--threads", type=positive, help="threads of torch; by default torch's own choice")
    parser = Parser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def add(run: Callable[[argparse.Namespace], int], name: str, text: str) -> Parser:
        command = commands.add_parser(
            name,
            parents=[common],
            help=text,
            description=text,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        command.set_defaults(run=run)
        return command

    command = add(speed, "speed", "Time training and inference of all contenders, and their share of the roof.")
    add_sizes(command, ["small", "wide"])
    add_contenders(command)
    command.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="what is timed")
    add_repeats(command, 5)
    command.add_argument("--no-roof", action="store_true", help="leave the roof out")
    command.add_argument("--verbose", action="store_true", help="also print the roof layer by layer")

    command = add(memory, "memory", "Measure the most memory that training takes, one process for each contender.")
    add_sizes(command, ["small", "wide"])
    add_contenders(command)

    command = add(mapping, "mapping", "Time mapping on one core, and loading of data beside training.")
    add_grid(command, level=4, num_spheres=20)
    command.add_argument("--channels", type=positive, default=8, help="fine spheres per sphere")
    command.add_argument("--num_points", type=positive, default=1024, help="points per cloud")
    command.add_argument("--batch", type=positive, default=32, help="clouds of a call")
    command.add_argument("--source", default="builtin", help="data to load, as data.source of pipelines.modelnet")
    command.add_argument("--size", choices=SIZES, default="small", help="model to train beside the loading")
    add_repeats(command, 5)

    command = add(
        table4, "table4", "Time the model for 1 to 32 spheres (Table 4 of the paper), and for several levels."
    )
    add_grid(command, level=4, num_spheres=16)
    command.add_argument(
        "--levels", nargs="+", type=grid_level, default=list(LEVELS), help="levels of the second table"
    )
    command.add_argument("--counts", nargs="+", type=positive, default=list(NUM_SPHERES), help="numbers of spheres")
    command.add_argument("--base_width", type=positive, default=4, help="width F of the model")
    command.add_argument("--batch", type=positive, default=4, help="samples of a batch")
    command.add_argument("--contender", choices=CONTENDERS, default="auto", help="who is timed")
    add_repeats(command, 5)

    command = add(startup, "startup", "Time importing the package and building the largest grid.")
    add_grid(command, level=5, num_spheres=32)
    add_repeats(command, 5)

    command = add(check, "check", "Compare speed and memory against the composition with the stored ratios.")
    command.add_argument("--size", choices=SIZES, default="small", help="what is measured")
    command.add_argument("--slack", type=share, default=0.2, help="share by which a ratio may be worse than stored")
    command.add_argument("--ratios", type=Path, default=STORED, help="file of the stored ratios")
    command.add_argument("--store", action="store_true", help="store what is measured instead of comparing")
    add_repeats(command, 5)
    return parser


def add_repeats(command: Parser, default: int) -> None:
    """Add the option for the number of rounds."""
    command.add_argument("--repeats", type=positive, default=default, help="rounds that are measured")


def add_grid(command: Parser, level: int, num_spheres: int) -> None:
    """Add the options of a grid."""
    command.add_argument("--level", type=grid_level, default=level, help="level of the finest spheres")
    command.add_argument("--num_spheres", type=positive, default=num_spheres, help="number of spheres")


def add_sizes(command: Parser, default: list[str]) -> None:
    """Add the options that choose sizes."""
    names = "; ".join(f"{name}: {size_text(dataclasses.asdict(size))}" for name, size in SIZES.items())
    command.add_argument("--sizes", nargs="+", choices=SIZES, default=default, metavar="SIZE", help=names)
    command.add_argument("--batch", type=positive, help="samples of a batch, instead of the size's own")


def add_contenders(command: Parser) -> None:
    """Add the option that chooses contenders."""
    names = "; ".join(f"{name}: {kind.description}" for name, kind in CONTENDERS.items())
    command.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        metavar="NAME",
        help=f"{names}. By default all but pyg, fast and reference only at the size small",
    )


def chosen_sizes(options: argparse.Namespace) -> dict[str, Size]:
    """Return the sizes that were asked for, with the batch that was asked for."""
    found = {name: SIZES[name] for name in options.sizes}
    if options.batch is None:
        return found
    return {name: dataclasses.replace(size, batch=options.batch) for name, size in found.items()}


def bar(numbers: Iterable[int], title: str) -> Iterable[int]:
    """Show progress."""
    return tqdm(numbers, title, file=sys.stderr, disable=not sys.stderr.isatty())


def record(options: argparse.Namespace, **results: Any) -> dict[str, Any]:
    """Put results together with the machine they were measured on."""
    return {"machine": describe(options.threads, options.words), **results}


def write(options: argparse.Namespace, name: str, document: dict[str, Any], draw: Callable[[Path], None]) -> None:
    """Write results and their figure, and say where they are."""
    with atomic_write(options.output / f"{name}.png") as file:
        draw(file)
    with atomic_write(options.output / f"{name}.json") as file:
        file.write_text(json.dumps(document, indent=1), encoding="utf-8")
    say(f"results in {options.output / name}.json and .png")


def speed(options: argparse.Namespace) -> int:
    """Time the contenders at each size."""
    document = record(options, sizes={})
    for name, size in chosen_sizes(options).items():
        contenders = options.contenders or usual(name)
        result = measure_speed(
            size, contenders, options.modes, options.repeats, options.threads, name, bar, not options.no_roof
        )
        document["sizes"][name] = result
        say(f"\n{name}: {size_text(result['size'])}; per {size.sample}\n\n{speed_table(result)}\n")
        if options.verbose:
            for dtype, heights in result["roof"].items():
                for mode, height in heights.items():
                    say(f"roof of {mode} in {dtype}, per {size.sample}\n\n{roof_table(height)}\n")
    write(options, "speed", document, lambda file: draw_speed(document["sizes"], file))
    return 0


def memory(options: argparse.Namespace) -> int:
    """Measure the peak memory of training at each size."""
    document = record(options, sizes={})
    for name, size in chosen_sizes(options).items():
        result = measure_memory(size, options.contenders or usual(name), options.threads, name, bar)
        document["sizes"][name] = result
        say(f"\n{name}: {size_text(result['size'])}; peak of a process that trains\n\n{memory_table(result)}\n")
    panels = [
        (name, "MB added by training", {key: found["added"] / 1e6 for key, found in result["bytes"].items()})
        for name, result in document["sizes"].items()
    ]
    write(options, "memory", document, lambda file: draw_bars(panels, file))
    return 0


def mapping(options: argparse.Namespace) -> int:
    """Time mapping and loading."""
    mapped = measure_mapping(
        options.level,
        options.num_spheres,
        options.channels,
        options.num_points,
        options.batch,
        options.repeats,
        bar,
    )
    per_cloud = mapped["seconds_per_cloud"]
    grid = f"level {options.level}, R = {options.num_spheres}, C = {options.channels}"
    say(f"\n{grid}, one thread; per cloud of {options.num_points} points\n\n{seconds_table('mapping', per_cloud)}\n")
    size = SIZES[options.size]
    loaded = measure_loading(size, options.source, options.num_points, options.repeats, options.threads, bar)
    per_batch = loaded["seconds_per_batch"]
    say(f"\n{options.size}: {size_text(loaded['size'])}; per batch\n\n{seconds_table('work', per_batch)}\n")
    medians = {name: found["median"] for name, found in per_batch.items()}
    say(f"loading alone gives {1 / medians['loading']:.3g} batches/s, training takes {1 / medians['training']:.3g}\n")
    panels = [
        ("mapping, one thread", "ms per cloud", {name: 1e3 * found["median"] for name, found in per_cloud.items()}),
        (f"batches, {options.size}", "per second", {name: 1 / value for name, value in medians.items()}),
    ]
    document = record(options, mapping=mapped, loading=loaded)
    write(options, "mapping", document, lambda file: draw_bars(panels, file))
    return 0


def table4(options: argparse.Namespace) -> int:
    """Time the model over numbers of spheres and over levels."""
    base = Size(options.level, options.num_spheres, 8, options.base_width, options.batch)
    by_count = {str(count): dataclasses.replace(base, num_spheres=count) for count in options.counts}
    spheres = measure_growth(by_count, options.contender, options.repeats, options.threads, "spheres", bar)
    say(f"\nlevel {options.level}, F = {options.base_width}, batch {options.batch}; per sample\n")
    say(f"{growth_table(spheres, 'num_spheres')}\n")
    for mode, factor in PAPER_GROWTH.items():
        say(f"{mode}: x{growth(spheres, mode)[-1]:.1f} from the first to the last; paper, 1 to 32 spheres: x{factor:g}")
    by_level = {str(value): dataclasses.replace(base, level=value) for value in options.levels}
    levels = measure_growth(by_level, options.contender, options.repeats, options.threads, "levels", bar)
    say(f"\nR = {options.num_spheres}, F = {options.base_width}, batch {options.batch}; per sample\n")
    say(f"{growth_table(levels, 'level')}\n")
    for what, rows in (
        ("spheres, from 8 up", [row for row in spheres if row["size"]["num_spheres"] >= 8]),
        ("levels, from 3 up", [row for row in levels if row["size"]["level"] >= 3]),
    ):
        if len(rows) > 1:
            spreads = ", ".join(f"{mode} {percent(spread(rows, mode))}" for mode in MODES)
            say(f"largest time per multiply-accumulate above the smallest over {what}: {spreads}")
    document = record(options, spheres=spheres, levels=levels, paper_growth=PAPER_GROWTH)
    write(options, "table4", document, lambda file: draw_growth(spheres, levels, PAPER_GROWTH, file))
    return 0


def startup(options: argparse.Namespace) -> int:
    """Time import and grid."""
    result = measure_startup(options.level, options.num_spheres, options.repeats, bar)
    say(f"\n{seconds_table('what', result['seconds'])}\n")
    say(f"heavy modules that csgnn_dgl imports beyond those of torch and dgl: {', '.join(result['heavy']) or 'none'}")
    values = {name: 1e3 * found["median"] for name, found in result["seconds"].items()}
    panels = [("start-up", "ms", values)]
    write(options, "startup", record(options, startup=result), lambda file: draw_bars(panels, file))
    return 0


def check(options: argparse.Namespace) -> int:
    """Measure the ratios and store them or compare them with the stored ones."""
    document = record(options)
    stored = None if options.store else read(document["machine"], options.ratios)
    contenders = ["auto", BF16, OPPONENT]
    size = SIZES[options.size]
    timed = measure_speed(size, contenders, MODES, options.repeats, options.threads, "speed", bar, roof=False)
    found = ratios(timed, measure_memory(size, contenders, options.threads, "memory", bar))
    if stored is None:
        store(found, document["machine"], options.ratios)
        say(f"stored in {options.ratios}: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        return 0
    rows, well = compare(found, stored, options.slack)
    say(f"\n{check_table(rows)}\n")
    if not well:
        say(f"worse than stored by more than {percent(options.slack)}: find the change, or store anew with --store")
    return 0 if well else REGRESSION


def run(arguments: Sequence[str]) -> int:
    """Parse the command line and carry it out."""
    words = list(arguments)
    asks_for_help = bool(words) and words[0] in ("-h", "--help")
    if not words or (words[0].startswith("-") and not asks_for_help):
        words = ["speed", *words]
    options = build_parser().parse_args(words)
    options.words = words
    outcome: int = options.run(options)
    return outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
