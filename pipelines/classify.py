"""Classify meshes and point files with a trained model, by default with the weights that come with the package.

Of one file the five most probable classes are told, of several a table. Probabilities are calibrated on validation
shapes; a deviation above 1 says that a shape is unlike the training shapes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.models.weights import pretrained
from csgnn_dgl.tasks.classification.answer_figure import training_clouds, write_figures
from csgnn_dgl.tasks.classification.answers import answer_text, answers_json, answers_table
from csgnn_dgl.tasks.classification.given import files_of, read_clouds
from csgnn_dgl.tasks.classification.prediction import predict_clouds
from csgnn_dgl.tasks.classification.trained import DEFAULT, load_classifier
from pipelines.options import Parser, add_trust, as_trusted, check_free, device, new_folder
from pipelines.terminal import USER_ERROR, complain, guarded, say

PROGRAM = "python -m pipelines.classify"
FILE = "answers.json"


def build_parser(program: str) -> Parser:
    """Build the parser."""
    known = "\n".join(f"  {weights}" for weights in pretrained() if weights.task == "classification")
    parser = Parser(
        prog=program,
        description=__doc__,
        epilog=f"weights that come with the package\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    weights = f"name of weights, checkpoint or run folder ({DEFAULT})"
    parser.add_argument("files", metavar="FILE", nargs="+", help="mesh or point file, or a folder of them")
    parser.add_argument("--weights", metavar="NAME", default=DEFAULT, help=weights)
    parser.add_argument("--up_axis", choices=("z", "y"), default="z", help="axis that points up in the files (z)")
    parser.add_argument("--rotations", type=int, default=0, help="classify so many random rotations of each, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--figure", action="store_true", help="draw every shape, its features and the nearest shapes")
    parser.add_argument("--training_data", metavar="FOLDER", help="draw the nearest shapes from these training data")
    parser.add_argument("--output", metavar="FOLDER", help=f"folder for {FILE} and figures; for figures a new one")
    parser.add_argument("--device", help="where to compute; by default a GPU if any")
    add_trust(parser)
    return parser


def run(arguments: Sequence[str], program: str) -> int:
    """Classify files, tell what was found, and return the exit code: 2 if some files could not be used."""
    options = build_parser(program).parse_args(list(arguments))
    check_free(options.output, FILE)
    if options.training_data and not options.figure:
        raise InputError("--training_data is for the shapes in a figure; give --figure too, or leave it out")
    with as_trusted(options):
        model = load_classifier(options.weights, device(options.device))
    files = files_of(options.files)
    training = training_clouds(model, options.training_data) if options.figure else {}
    failures: dict[str, str] = {}
    clouds = read_clouds(files, model.num_points, options.up_axis, failures if len(files) > 1 else None)
    predictions = predict_clouds(model, clouds, options.rotations)
    text = answers_json(options.weights, predictions, failures)
    if options.json:
        say(text)
    elif predictions:
        say(answer_text(predictions[0]) if len(files) == 1 else answers_table(predictions))
    if options.figure or options.output:
        folder = new_folder(options.output, "answers", FILE)
        if options.figure:
            write_figures(folder, predictions, model, training)
        with atomic_write(folder / FILE) as file:
            file.write_text(text, encoding="utf-8")
        print(f"answers in {folder}", file=sys.stderr)
    for message in failures.values():
        complain(message)
    return USER_ERROR if failures else 0


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments, program))


if __name__ == "__main__":
    sys.exit(main())
