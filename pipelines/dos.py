"""Train, test and use models of the electronic density of states (DOS).

Without arguments it trains a small model on the built-in carbon structures, tests it and prints a table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser

import csgnn_dgl
from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.data import Snapshots, read_snapshots
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.tasks.dos import DOSData, DOSModule, load_dos_model, measure_dos_invariance
from csgnn_dgl.tasks.dos.comparison import compare_models
from csgnn_dgl.tasks.dos.evaluation import score_dos
from csgnn_dgl.tasks.dos.prediction import DOSPrediction, predict_snapshots, write_predictions
from csgnn_dgl.tasks.dos.report import LEGEND, dos_tables, invariance_table, write_dos_results
from csgnn_dgl.training.report import markdown_table
from csgnn_dgl.training.runs import claim_folder
from pipelines.arguments import prepare
from pipelines.cli import Parser, RunCLI, default_name
from pipelines.terminal import guarded, quieten, say

PROGRAM = "python -m pipelines.dos"
NETWORKS = {name: f"csgnn_dgl.models.{kind.__name__}" for name, kind in DOS_MODELS.items()}
RUNS = "runs/dos"
DESCRIPTION = (
    "Train and test models of the electronic density of states. Without arguments: train a small model on the built-in "
    "carbon structures, test it and print a table, within five minutes on two CPU cores. "
    f"`--model {{{','.join(NETWORKS)}}}` chooses a model: alone, with its config in configs/dos."
)
TABLE = "Test runs on the same test snapshots, as Table 2 does."
PREDICT = "Predict the density of states of atomic structures."
DEFAULT = ("fit", "--config", "configs/dos/quick.yaml", "--name", "quick")
EPOCH_LINE = {
    "train/loss": "loss {:.5f}",
    "validation/loss": "validation loss {:.5f}",
    "validation/band_energy_mae": "band energy {:.4f} eV/atom",
    "validation/fermi_level_mae": "Fermi level {:.4f} eV",
    "learning_rate": "rate {:.1e}",
    "train/samples_per_second": "{:.0f} snapshots/s",
}


class DOSCLI(RunCLI):
    """The command line of the electronic-structure experiment."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what only this experiment has."""
        super().add_arguments_to_parser(parser)
        if self.building == "test":
            parser.add_argument(
                "--invariance",
                type=bool,
                default=False,
                help="Also measure how much the predictions for 16 test snapshots change under rotations, another "
                "order of the atoms and another choice of the cell.",
            )

    def after_validate(self) -> None:
        """Print what was measured."""
        say(f"\n{dos_tables(self.model.scores)}\n")
        say(f"validation loss: {float(self.trainer.callback_metrics['validation/loss']):.6f}")

    def report(self, checkpoint: Path, folder: Path) -> None:
        """Print the results, with the changes under symmetries if they are wanted, and write them to a folder."""
        stored = read_checkpoint(checkpoint)
        facts = {
            "checkpoint": str(checkpoint),
            "epochs_trained": int(stored["epoch"]) + 1,
            **{f"trained_{key}": value for key, value in stored["csgnn"].get("training", {}).items()},
            "test_source": self.datamodule.source,
            "network": stored["csgnn"]["config"],
            "version": csgnn_dgl.__version__,
        }
        say(f"\n{dos_tables(self.model.scores)}\n\n{LEGEND}\n")
        snapshots, invariance = self.datamodule.snapshots("test"), None
        if self.subcommand == "test" and self.options.invariance:
            network = self.model.network.to(self.trainer.strategy.root_device)
            invariance = measure_dos_invariance(network, snapshots)
            say(f"{invariance_table(invariance)}\n")
        write_dos_results(folder, self.model.scores, self.model.predictions, snapshots, facts, invariance)
        say(f"results in {folder}")


def table(arguments: Sequence[str]) -> int:
    """Test several runs on the same snapshots and print one table."""
    parser = Parser(prog=f"{PROGRAM} table", description=TABLE)
    parser.add_argument("runs", nargs="+", type=str, help="Run folders (their best checkpoints) or checkpoints.")
    parser.add_argument("--source", type=str | None, default=None, help="Other data than those of the runs.")
    parser.add_argument("--output", type=str | None, default=None, help="Folder for results; by default a new one.")
    parser.add_argument("--device", type=str | None, default=None, help="Where to compute; by default a GPU if any.")
    options = parser.parse_args(list(arguments))
    models = [(name_of(place), load_dos_model(place, device(options.device))) for place in options.runs]
    predictions, snapshots = compare_models(models, options.source, sys.stderr.isatty())
    scores = [score_dos(prediction, snapshots) for prediction in predictions]
    say(f"{dos_tables(scores)}\n\n{LEGEND}\n")
    folder = new_folder(options.output, "table", "results.json")
    facts: dict[str, Any] = {name: model.facts for name, model in models}
    facts |= {"test_source": options.source or models[0][1].data["source"], "version": csgnn_dgl.__version__}
    write_dos_results(folder, scores, predictions, snapshots, facts)
    say(f"results in {folder}")
    return 0


def predict(arguments: Sequence[str]) -> int:
    """Predict the DOS of structures in files and write it."""
    parser = Parser(prog=f"{PROGRAM} predict", description=PREDICT)
    parser.add_argument("structures", nargs="+", type=str, help="Files of any kind that ase reads.")
    parser.add_argument(
        "--ckpt_path", type=str | None, default=None, help="Checkpoint or run folder; by default the shipped weights."
    )
    parser.add_argument("--output", type=str | None, default=None, help="Folder for results; by default a new one.")
    parser.add_argument("--device", type=str | None, default=None, help="Where to compute; by default a GPU if any.")
    options = parser.parse_args(list(arguments))
    model = load_dos_model(options.ckpt_path, device(options.device))
    read = [read_snapshots(path, model.grid, model.valences, needs_dos=False) for path in options.structures]
    snapshots = Snapshots(tuple(item for part in read for item in part))
    predictions = predict_snapshots(model, snapshots)
    folder = new_folder(options.output, "predictions", "predictions.json")
    write_predictions(folder, predictions, snapshots)
    say(f"{prediction_table(predictions)}\n")
    for found, item in zip(predictions, snapshots, strict=True):
        if found.num_electrons and found.num_states < found.num_electrons:
            say(
                f"{item.name}: the predicted DOS holds {found.num_states:.4g} of {found.num_electrons:g} electrons; "
                "its Fermi level is the end of the grid, and not to be trusted"
            )
    say(f"DOS, contributions of the atoms and figures in {folder}")
    return 0


def prediction_table(predictions: Sequence[DOSPrediction]) -> str:
    """Return the predictions' numbers as a table."""
    head = ("structure", "atoms", "electrons", "Fermi level (eV)", "band energy (eV)", "per atom (eV)")
    rows = [
        (
            item.name,
            str(item.num_atoms),
            f"{item.num_electrons:g}",
            f"{item.fermi_level:.4f}",
            f"{item.band_energy:.4f}",
            f"{item.band_energy / item.num_atoms:.4f}",
        )
        for item in predictions
    ]
    return markdown_table(head, rows)


def device(name: str | None) -> torch.device:
    """Return the device of a name; without one a GPU, if there is one, else the CPU."""
    try:
        chosen = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} cannot be used here; give cpu or leave it out") from error
    return chosen


def name_of(place: str) -> str:
    """Name a run in a table: its folder, or the name of its checkpoint file."""
    path = Path(place)
    if path.parent.name == "checkpoints":
        path = path.parent.parent
    return path.stem if path.suffix == ".ckpt" else path.resolve().name


def new_folder(place: str | None, name: str, kept: str) -> Path:
    """Return a folder for results: the named one, unless it has some, or the next free one under ``runs``."""
    if place is None:
        return claim_folder(Path("runs"), name)
    folder = Path(place)
    if (folder / kept).exists():
        raise InputError(f"{folder} has results already ({kept}); name another folder with --output")
    return folder


def choose_model(arguments: Sequence[str]) -> list[str]:
    """Turn ``--model NAME`` into the model's config, or into its class where another config is named."""
    words = list(arguments)
    for place, word in enumerate(words):
        option, _, name = word.partition("=")
        if option != "--model":
            continue
        count = 1 if "=" in word else 2
        name = name or (words[place + 1] if place + 1 < len(words) else "")
        if name not in NETWORKS:
            raise InputError(f"--model is {name!r}; give one of {', '.join(NETWORKS)}")
        before, after = words[:place], words[place + count :]
        rest = before + after
        configured = any(item.split("=")[0] in ("--config", "-c", "--resume", "--ckpt_path") for item in rest)
        if rest[:1] == ["fit"] and not configured:
            return ["fit", "--config", f"dos/{name}.yaml", *rest[1:]]
        return [*before, "--model.network", NETWORKS[name], *after]
    return words


def run(arguments: Sequence[str]) -> int:
    """Parse the command line and carry it out."""
    for name, program in (("table", table), ("predict", predict)):
        if list(arguments[:1]) == [name]:
            return program(arguments[1:])
    complete = prepare(choose_model(arguments), default=DEFAULT, registry=DOS_MODELS, runs=RUNS)
    DOSCLI(
        DOSModule,
        DOSData,
        defaults={"model.network": {"class_path": NETWORKS["csgnn"]}, "data.progress": sys.stderr.isatty()},
        runs=RUNS,
        name=default_name(complete),
        description=DESCRIPTION,
        others={"table": TABLE, "predict": PREDICT},
        epoch_line=EPOCH_LINE,
        arguments=complete,
        monitor="validation/band_energy_mae",
        mode="min",
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    keep_large_blocks()
    quieten()
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
