"""Train and test the classifier of point clouds.

Without arguments it trains a small model on the built-in shapes under random rotations, tests it and prints a table.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

import csgnn_dgl
from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.data import download_modelnet40
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.tasks.classification import ClassificationModule, ModelNetData, measure_so3_error, write_results
from csgnn_dgl.tasks.classification.report import results_table, so3_error_table
from pipelines.arguments import prepare
from pipelines.cli import Parser, RunCLI, default_name
from pipelines.terminal import guarded, quieten, say

PROGRAM = "python -m pipelines.modelnet"
NETWORK = "csgnn_dgl.models.CSGNN"
RUNS = "runs/modelnet"
DESCRIPTION = (
    "Train and test the classifier of point clouds. Without arguments: train a small model on the built-in shapes "
    "under random rotations, test it and print a table, within five minutes on two CPU cores."
)
DOWNLOAD = "Fetch ModelNet40 (435 MB), verify and unpack it."
DEFAULT = ("fit", "--config", "configs/modelnet/quick.yaml", "--name", "quick")
EPOCH_LINE = {
    "train/loss": "loss {:.3f}",
    "validation/loss": "validation loss {:.3f}",
    "validation/accuracy": "validation accuracy {:.3f}",
    "learning_rate": "rate {:.1e}",
    "train/samples_per_second": "{:.0f} shapes/s",
}


class ModelNetCLI(RunCLI):
    """The command line of the classification experiment."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what only this experiment has."""
        super().add_arguments_to_parser(parser)
        if self.building == "test":
            parser.add_argument(
                "--so3_error",
                type=bool,
                default=False,
                help="Also measure how much the outputs of 200 test shapes change under rotations by up to 180°.",
            )

    def after_validate(self) -> None:
        """Print what was measured."""
        say(f"\n{results_table(self.model.scores)}\n")
        say(f"validation loss: {float(self.trainer.callback_metrics['validation/loss']):.4f}")

    def report(self, checkpoint: Path, folder: Path) -> None:
        """Print the results, with the error under rotation if it is wanted, and write them to a folder."""
        facts = test_facts(checkpoint, self.datamodule)
        say(f"\n{results_table(self.model.scores)}\n")
        error = None
        if self.subcommand == "test" and self.options.so3_error:
            device = self.trainer.strategy.root_device
            error = measure_so3_error(self.model.network, self.datamodule.test_clouds, device)
            say(f"{so3_error_table(error)}\n")
        write_results(folder, self.model.scores, self.model.class_names, facts, error)
        say(f"validated on {facts['validation']}; results in {folder}")


def test_facts(checkpoint: Path, data: ModelNetData) -> dict[str, Any]:
    """Say how a test came about."""
    stored = read_checkpoint(checkpoint)
    return {
        "checkpoint": str(checkpoint),
        "epochs_trained": int(stored["epoch"]) + 1,
        **{
            f"trained_{key}" if key == "source" else key: value
            for key, value in stored["csgnn"].get("training", {}).items()
        },
        "test_source": data.source,
        "num_points": data.num_points,
        "test_seed": data.seed,
        "network": stored["csgnn"]["config"],
        "version": csgnn_dgl.__version__,
    }


def download(arguments: Sequence[str]) -> int:
    """Fetch ModelNet40 into a folder and say how to train on it."""
    parser = Parser(prog=f"{PROGRAM} download", description=DOWNLOAD)
    parser.add_argument("folder", type=str, help="Where to put the folder modelnet40_ply_hdf5_2048; made if missing.")
    place = download_modelnet40(parser.parse_args(list(arguments)).folder, progress=sys.stderr.isatty())
    say(f"ModelNet40 is in {place}")
    command = ["fit", "--config", "configs/modelnet/small_so3.yaml", "--data.source", str(place)]
    say(f"train on it with: {PROGRAM} {shlex.join(command)}")
    return 0


def run(arguments: Sequence[str]) -> int:
    """Parse the command line and carry it out."""
    if list(arguments[:1]) == ["download"]:
        return download(arguments[1:])
    complete = prepare(arguments, default=DEFAULT, registry=CLASSIFIERS, runs=RUNS)
    ModelNetCLI(
        ClassificationModule,
        ModelNetData,
        defaults={"model.network": {"class_path": NETWORK}, "data.progress": sys.stderr.isatty()},
        runs=RUNS,
        name=default_name(complete),
        description=DESCRIPTION,
        others={"download": DOWNLOAD},
        links=[("data.num_points", "model.network.init_args.num_points")],
        instantiated_links=[("data.num_classes", "model.network.init_args.num_classes")],
        epoch_line=EPOCH_LINE,
        arguments=complete,
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    quieten()
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
