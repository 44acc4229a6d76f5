"""Write a trained classifier as programs that need neither this package nor dgl: torch.export and ONNX.

NAME.pt2 is for torch.export.load, NAME.onnx for any runtime of ONNX, NAME.json says what goes in and comes out. Both
take raw points, centre and scale them, and give calibrated probabilities. That they answer as the model does is checked
in a Python where dgl cannot be imported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.tasks.classification.exporting import export_classifier
from csgnn_dgl.tasks.classification.trained import load_classifier
from pipelines.options import Parser, add_trust, as_trusted
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.export"


def run(arguments: Sequence[str], program: str) -> int:
    """Export a classifier and say where everything is."""
    parser = Parser(
        prog=program, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="run folder, checkpoint, or name of weights in the package")
    parser.add_argument("--output", metavar="FOLDER", default="exported", help="where to write (exported)")
    add_trust(parser)
    options = parser.parse_args(list(arguments))
    with as_trusted(options):
        model = load_classifier(options.run)
    made = export_classifier(model, Path(options.output), Path(options.run).resolve().stem)
    for name, path in (("torch", made.program), ("onnx", made.onnx)):
        say(f"{path}: probabilities differ by {made.differences[name]:.1e} at most, without dgl")
    say(f"input and output: {made.description}")
    return 0


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments, program))


if __name__ == "__main__":
    sys.exit(main())
