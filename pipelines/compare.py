"""Train and test classifiers of point clouds side by side, with the same data and budget, and print one table.

Without arguments it compares all classifiers, reduced, on the built-in shapes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import configs
from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import import_path
from csgnn_dgl.tasks.classification.comparison import TESTED, Candidate
from csgnn_dgl.training.config import Parser
from pipelines.sweeping import add_options, carry_out, config_from, own_options, trust_of, with_source
from pipelines.terminal import guarded

PROGRAM = "python -m pipelines.compare"
DESCRIPTION = (
    "Train and test classifiers of point clouds side by side: each under rotations about the vertical axis (z) and "
    "under any (SO3), with the same data, batches, augmentation, schedule, seeds and budget; only network, learning "
    "rate and weight decay are each model's own. Without arguments: all classifiers, reduced, on 512 points of the "
    "built-in shapes, within twelve minutes on two CPU cores. The same command goes on after any interruption."
)
MODELS = (
    "Names ({}), whose reduced configs in configs/modelnet are taken; paths of configs; class paths of your own, as "
    "mine.PointNet: any nn.Module from points (B, N, 3) to logits, made with num_classes; or run folders, which are "
    "only tested. A folder of shapes stands for --data.source."
)
DEFAULT = ("--data.num_points", "512")
"""What is meant by nothing at all: fewer points than usual, so that there are some epochs in the time."""

REDUCED = {"csgnn": "small_so3", "csgnn_mixed": "mixed_quick"}
"""Names of the reduced configs that are not called NAME_small."""


VARIANTS = ("csgnn_mixed",)
"""Names that are left out where no model is named: the paper's Table 1 does not have them."""


def candidate(word: str) -> Candidate:
    """Return the row that a word stands for."""
    path = Path(word)
    if path.is_dir():
        return Candidate(path.resolve().name, run=word)
    if word in CLASSIFIERS:
        names = (REDUCED.get(word, f"{word}_small"), word)
        files = [configs.FOLDER / "modelnet" / f"{name}.yaml" for name in names]
        file = next((file for file in files if file.is_file()), None)
        return Candidate(word, own_options(config_from(file) if file else {}, import_path(CLASSIFIERS[word])))
    if path.suffix in (".yaml", ".yml"):
        try:
            return Candidate(path.stem, own_options(config_from(configs.find(word))))
        except FileNotFoundError as error:
            raise InputError(str(error)) from error
    return Candidate(word.rpartition(".")[2], own_options({}, import_path(CLASSIFIERS.find(word))))


def is_data(word: str) -> bool:
    """Whether a word is a folder of shapes."""
    return Path(word).is_dir() and not (Path(word) / "config.yaml").is_file()


def run(words: Sequence[str], program: str) -> int:
    """Parse the command line and carry it out."""
    words = list(words) or list(DEFAULT)
    parser = Parser(prog=program, description=DESCRIPTION)
    parser.add_argument("models", nargs="*", type=str, help=MODELS.format(", ".join(CLASSIFIERS)))
    add_options(parser, "runs/compare")
    options = parser.parse_args(with_source(words))
    folders = [word for word in options.models if is_data(word)]
    if len(folders) > 1:
        raise InputError(f"{' and '.join(folders)} are folders of shapes; give one")
    if folders:
        options.data.source = folders[0]
    models = [word for word in options.models if word not in folders]
    options.output = options.output or "runs/compare"
    with trust_of(options):
        candidates = [candidate(word) for word in models or [name for name in CLASSIFIERS if name not in VARIANTS]]
        return carry_out(candidates, options, tuple(TESTED), [*program.split(), *words])


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    words = sys.argv[1:] if arguments is None else arguments
    return guarded(lambda: run(words, program))


if __name__ == "__main__":
    sys.exit(main())
