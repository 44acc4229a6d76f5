"""Train and test classifiers of point clouds.

Without arguments it trains a small model on the built-in shapes under random rotations, tests it and prints a table.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.data import download_modelnet40
from csgnn_dgl.tasks.classification.task import TASK
from csgnn_dgl.training.config import Parser
from pipelines import cli
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.modelnet"
DESCRIPTION = (
    "Train and test classifiers of point clouds. Without arguments: train a small model on the built-in shapes "
    "under random rotations, test it and print a table, within five minutes on two CPU cores."
)
DOWNLOAD = "Fetch ModelNet40 (435 MB), verify and unpack it."
DEFAULT = ("fit", "--config", "configs/modelnet/quick.yaml", "--name", "quick")


def download(arguments: Sequence[str], program: str) -> int:
    """Fetch ModelNet40 into a folder and say how to train on it."""
    parser = Parser(prog=f"{program} download", description=DOWNLOAD)
    parser.add_argument("folder", type=str, help="Where to put the folder modelnet40_ply_hdf5_2048; made if missing.")
    place = download_modelnet40(parser.parse_args(list(arguments)).folder, progress=sys.stderr.isatty())
    say(f"ModelNet40 is in {place}")
    command = ["fit", "--config", "configs/modelnet/small_so3.yaml", "--data.source", str(place)]
    say(f"train on it with: {program} {shlex.join(command)}")
    return 0


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
            runs="runs/modelnet",
            loss="{:.4f}",
            others={"download": (DOWNLOAD, lambda rest: download(rest, program))},
        )
    )


if __name__ == "__main__":
    sys.exit(main())
