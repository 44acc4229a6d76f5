"""Compile the kernels for this processor ahead of their first use: for images of containers, and nodes of clusters.

What is there already is left as it is. Each kind of processor has libraries of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from csgnn_dgl.errors import InputError
from csgnn_dgl.nn.ops import build, library, twins
from csgnn_dgl.training.report import markdown_table
from pipelines.options import Parser
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.build_kernels"
EPILOG = """\
The libraries are kept in ~/.cache/csgnn_dgl/kernels; CSGNN_CACHE=FOLDER puts them into FOLDER/kernels. Run this on each
kind of processor that is to use them: on others they are compiled at first use. CXX names another compiler than g++.
The table says how long convolutions of bfloat16 features take with both kinds of products; those of bfloat16 are made
under autocast where they save a tenth.

exit code: 0 all is there, 2 it cannot be made, and the error says why
"""


def run(arguments: Sequence[str], program: str) -> int:
    """Compile all units and measure their products."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=program, description=__doc__, epilog=EPILOG, formatter_class=formatter, allow_abbrev=False)
    parser.parse_args(list(arguments))
    start = time.perf_counter()
    try:
        paths = build.libraries(build.UNITS)
    except build.CannotBuild as error:
        raise InputError(f"the kernels cannot be made: {error}") from error
    say(f"kernels for {', '.join(paths)} are in {build.folder()} ({time.perf_counter() - start:.1f} s)\n")
    rows = [
        (name, *(f"{1e6 * seconds[product]:.0f}" for product in twins.PRODUCTS), twins.faster(seconds))
        for name, seconds in library.product_times().items()
    ]
    head = ("convolution of bfloat16 features", *(f"products of {name}, µs" for name in twins.PRODUCTS), "taken")
    say(markdown_table(head, rows))
    return 0


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments, program))


if __name__ == "__main__":
    sys.exit(main())
