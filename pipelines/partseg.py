"""Train and test models that find the parts of shapes: a label for every point.

Without arguments it trains a small model on the built-in shapes under random rotations, tests it and prints a table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.tasks.segmentation.task import TASK
from pipelines import cli
from pipelines.terminal import guarded

PROGRAM = "python -m pipelines.partseg"
DESCRIPTION = (
    "Train and test models that find the parts of shapes. Without arguments: train a small model on the built-in "
    "shapes, whose parts are known from how they are put together, test it and print a table, within three minutes on "
    "two CPU cores."
)
DEFAULT = ("fit", "--config", "configs/partseg/quick.yaml", "--name", "quick")


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    words = sys.argv[1:] if arguments is None else arguments
    return guarded(
        lambda: cli.run(
            TASK,
            words,
            program=program,
            description=DESCRIPTION,
            default=DEFAULT,
            runs="runs/partseg",
            loss="{:.4f}",
            others={},
        )
    )


if __name__ == "__main__":
    sys.exit(main())
