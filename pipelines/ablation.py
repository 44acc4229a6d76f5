"""Train and test variants of one classifier of point clouds with the same data and budget, and print one table.

Without arguments it does Table 3 of the paper (spheres, channels, radial kernel) with small models on built-in shapes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import configs
from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.errors import InputError
from csgnn_dgl.tasks.classification.comparison import Candidate, merged
from csgnn_dgl.training.config import Parser, check_file, read_yaml
from pipelines.sweeping import add_options, carry_out, config_from, own_options, trust_of, with_source
from pipelines.terminal import guarded

PROGRAM = "python -m pipelines.ablation"
DESCRIPTION = (
    "Train and test variants of one classifier side by side, with the same data, batches, augmentation, schedule, "
    "seeds and budget. Without arguments: Table 3 of the paper (spheres R, channels C, radial kernel K), reduced, on "
    "the built-in shapes. The same command goes on after any interruption."
)
SWEEP = (
    "YAML file: base (a config), rows (of each name the options that it changes, as model.network.init_args.channels: "
    "16, and those of its tests, as test.data.votes: 5) and rotations; or the name of one in configs/sweeps: {}."
)
KEYS = {"base", "rows", "rotations"}


def nested(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with dotted names as nested ones."""
    layers: list[Any] = []
    for name, value in options.items():
        layer = value
        for part in reversed(name.split(".")):
            layer = {part: layer}
        layers.append(layer)
    return merged(*layers)


def find(word: str) -> Path:
    """Find the file of a sweep by its path, or by its name among those that come with the package."""
    try:
        return configs.find(word if Path(word).is_file() else f"sweeps/{word}")
    except FileNotFoundError as error:
        known = ", ".join(path.stem for path in sorted((configs.FOLDER / "sweeps").glob("*.yaml")))
        raise InputError(f"{word}: there is no such sweep; give the path of a YAML file or one of {known}") from error


def candidates(file: Path, sweep: dict[str, Any]) -> list[Candidate]:
    """Return the rows of a sweep."""
    rows, base = sweep.get("rows"), sweep.get("base")
    if set(sweep) - KEYS or not isinstance(base, str) or not isinstance(rows, dict) or not rows:
        raise InputError(f"{file} is no sweep; give base, the path of a config, and rows, names with what they change")
    try:
        common = own_options(config_from(configs.find(base)))
    except FileNotFoundError as error:
        raise InputError(f"{file}: {error}") from error
    found = []
    for name, options in rows.items():
        if not isinstance(options, dict | None):
            raise InputError(f"{file}: row {name} is {options!r}; give options with their values, or {{}}")
        change = nested(options or {})
        test = change.pop("test", {})
        found.append(Candidate(str(name), merged(common, change), test=test))
    return found


def run(words: Sequence[str], program: str) -> int:
    """Parse the command line and carry it out."""
    parser = Parser(prog=program, description=DESCRIPTION)
    known = ", ".join(path.stem for path in sorted((configs.FOLDER / "sweeps").glob("*.yaml")))
    parser.add_argument("sweep", nargs="?", type=str, default="table3", help=SWEEP.format(known))
    add_options(parser, "runs/ablation/SWEEP")
    options = parser.parse_args(with_source(words))
    file = find(options.sweep)
    options.output = options.output or f"runs/ablation/{file.stem}"
    with trust_of(options):
        sweep = read_yaml(file)
        rows = candidates(file, sweep)
        for row in rows:
            check_file(file, row.config)
        return carry_out(rows, options, sweep.get("rotations", ("z", "SO3")), [*program.split(), *words])


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    words = sys.argv[1:] if arguments is None else arguments
    return guarded(lambda: run(words, program))


if __name__ == "__main__":
    sys.exit(main())
