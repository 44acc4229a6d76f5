"""Audit a classifier of point clouds: what its answers depend on, and whether its accuracies can be trusted.

It asks about the other clouds of a batch, the order of points, points given twice, translation, scale, rotations, votes
and the split that picked the weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.data import CloudDataset, load
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.tasks.classification.audit import Verdict, audit, choose
from csgnn_dgl.tasks.classification.subjects import find_subject
from csgnn_dgl.training.report import markdown_table
from pipelines.options import Parser, add_trust, as_trusted
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.audit"
UNTRUSTWORTHY = 1
EPILOG = """\
MODEL is one of
  a short name      {names}: untrained, with small arguments (--full: with its defaults)
  an import path    mine.PointNet, a class of torch.nn.Module, untrained; mine.model or mine:function, a module
                    or function that maps points (B, N, 3) to logits (B, classes), as it is
  a run folder      or a checkpoint of one, on the test split of its own data

verdicts
  fine      it is as one wishes it to be
  noted     good to know, and expected of many methods
  wrong     accuracies that were reported cannot be trusted: answers that depend on the batch or on nothing, a declared
            symmetry that is not kept, a test split that was read for selection
  unknown   could not be told

measured is the relative change of the logits that all answers stay below (95 % of them, of moved clouds), or the
number of votes with which an accuracy varies by less than half a point from repetition to repetition. Modules are
audited in evaluation mode and in float64 where they can be.

exit code: 0 nothing is wrong, 1 something is, 2 the audit could not be made
"""


def build_parser(program: str) -> Parser:
    """Build the parser."""
    parser = Parser(
        prog=program,
        description=__doc__,
        epilog=EPILOG.format(names=", ".join(CLASSIFIERS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    data = "data whose test split is asked about; by default that of the run, else the built-in shapes (builtin)"
    points = "points per cloud; by default as many as the model works with, else 1024"
    parser.add_argument("model", metavar="MODEL", help="what is audited; see below")
    parser.add_argument("--data", metavar="FOLDER", help=data)
    parser.add_argument("--clouds", type=int, default=65, help="clouds of the test split, about five of a class (65)")
    parser.add_argument("--points", type=int, help=points)
    parser.add_argument("--batch", type=int, default=16, help="clouds of a batch (16)")
    parser.add_argument("--copies", type=int, default=8, help="rotated copies of each cloud (8)")
    parser.add_argument("--full", action="store_true", help="make a class with its defaults, not its small arguments")
    add_trust(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, orders and rotations (0)")
    return parser


def run(arguments: Sequence[str], program: str) -> int:
    """Audit a classifier, print the page, and return the exit code."""
    options = build_parser(program).parse_args(list(arguments))
    with as_trusted(options):
        return carry_out(options)


def carry_out(options: argparse.Namespace) -> int:
    """Audit the classifier of parsed options."""
    for name, least in (("clouds", 2), ("batch", 1), ("copies", 2)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} is {getattr(options, name)}; give a whole number of at least {least}")
    subject = find_subject(options.model, options.full, options.seed)
    source = options.data or subject.data.get("source", "builtin")
    size = options.points or subject.num_points or 1024
    axis = subject.data.get("up_axis", "auto")
    whole = load(source, "test", num_points=size, up_axis=axis, progress=sys.stderr.isatty())
    chosen = choose(whole.labels, options.clouds)
    batch = CloudDataset(whole).__getitems__(chosen.tolist())
    same_classes = subject.class_names in ((), whole.class_names)
    verdicts = audit(
        subject.make(whole.num_classes),
        batch["points"],
        batch["labels"],
        trained=subject.trained and same_classes,
        validation=subject.validation,
        test_size=len(whole),
        batch_size=options.batch,
        copies=options.copies,
        seed=options.seed,
    )
    say(f"{subject.name} ({subject.kind}), asked about {len(chosen)} clouds of {size} points of {whole.source}\n")
    say(page(verdicts))
    wrong = [verdict.question for verdict in verdicts if verdict.verdict == "wrong"]
    say(f"\nwrong: {'; '.join(wrong)}" if wrong else "\nnothing is wrong")
    return UNTRUSTWORTHY if wrong else 0


def page(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as a table."""
    numbers = [[f"{x:.3g}" if x is not None else "" for x in (item.measured, item.threshold)] for item in verdicts]
    rows = [(item.question, item.verdict, *pair, item.text) for item, pair in zip(verdicts, numbers, strict=True)]
    return markdown_table(("does an answer depend on", "verdict", "measured", "bound", "in words"), rows)


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments, program))


if __name__ == "__main__":
    sys.exit(main())
