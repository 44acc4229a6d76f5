"""Make weights for others of a trained classifier: small, calibrated, with a card that says what they are worth.

The best checkpoint of a run becomes NAME.ckpt, rounded to float16 and without the state of the optimiser. With it go
the temperature that calibrates its probabilities and what the training shapes look like to the network, so that shapes
of another kind can be told. NAME.md is the card, NAME.png its figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.tasks.classification.card import write_card
from csgnn_dgl.tasks.classification.publishing import publish
from pipelines.options import Parser, add_trust, as_trusted, device
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.publish"


def run(arguments: Sequence[str], program: str) -> int:
    """Publish a run and say where everything is."""
    parser = Parser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="run folder of a classifier")
    parser.add_argument("name", metavar="NAME", help="what the weights are to be called: letters, digits and hyphens")
    parser.add_argument("--title", required=True, help="what they were trained on, in few words")
    parser.add_argument("--licence", required=True, help="what may be done with them, for the card")
    parser.add_argument("--remark", action="append", default=[], help="a further limit, for the card; may be repeated")
    parser.add_argument("--data", metavar="FOLDER", help="where the data of the run are; by default where they were")
    parser.add_argument("--output", metavar="FOLDER", default="weights", help="where to write (weights)")
    parser.add_argument("--device", help="where to compute; by default a GPU if any")
    add_trust(parser)
    options = parser.parse_args(list(arguments))
    with as_trusted(options):
        made = publish(options.run, options.name, options.output, options.title, device(options.device), options.data)
    command = ["csgnn", "publish", f"runs/modelnet/{options.name}", options.name]
    command += ["--title", options.title, "--licence", options.licence]
    command += [word for text in options.remark for word in ("--remark", text)]
    card = write_card(made, options.licence, options.remark, command)
    accuracies = ", ".join(f"{found.accuracy:.1%} ({rotation})" for rotation, found in made.measured.test.items())
    say(f"test accuracy {accuracies}; {made.path.stat().st_size / 1e6:.2f} MB")
    say(f"weights in {made.path}, card in {card}")
    say(f"use them with: csgnn classify FILE --weights {made.path}")
    return 0


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments, program))


if __name__ == "__main__":
    sys.exit(main())
