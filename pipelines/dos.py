"""Train, test and use models of the electronic density of states (DOS).

Without arguments it trains a small model on the built-in carbon structures, tests it and prints a table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.tasks.dos import load_dos_model
from csgnn_dgl.tasks.dos.prediction import predict_snapshots
from csgnn_dgl.tasks.dos.structures import structures_of
from csgnn_dgl.tasks.dos.task import TASK
from csgnn_dgl.tasks.dos.writing import predictions_table, write_predictions
from csgnn_dgl.training import compare
from csgnn_dgl.training.config import Parser
from pipelines import cli
from pipelines.options import check_free, device, new_folder
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.dos"
DESCRIPTION = (
    "Train and test models of the electronic density of states. Without arguments: train a small model on the built-in "
    "carbon structures, test it and print a table, within five minutes on two CPU cores. "
    f"`--model {{{','.join(DOS_MODELS)}}}` chooses a model: alone, with its config in configs/dos."
)
TABLE = "Test runs on the same test snapshots, as Table 2 does."
PREDICT = "Predict the density of states of atomic structures."
DEFAULT = ("fit", "--config", "configs/dos/quick.yaml", "--name", "quick")


def table(arguments: Sequence[str], program: str) -> int:
    """Test several runs on the same snapshots and print one table."""
    parser = _parser(f"{program} table", TABLE)
    parser.add_argument("runs", nargs="+", type=str, help="Run folders (their best checkpoints) or checkpoints.")
    parser.add_argument("--source", type=str | None, default=None, help="Other data than those of the runs.")
    options = parser.parse_args(list(arguments))
    check_free(options.output, "results.json")
    chosen = device(options.device)
    trainer = {"accelerator": chosen.type, **({"devices": [chosen.index]} if chosen.index is not None else {})}
    data = {"progress": sys.stderr.isatty(), **({"source": options.source} if options.source else {})}
    results = compare(options.runs, task=TASK, trainer=trainer, data=data)
    say(f"{results}\n")
    folder = new_folder(options.output, "table", "results.json")
    results.write(folder)
    say(f"results in {folder}")
    return 0


def predict(arguments: Sequence[str], program: str) -> int:
    """Predict the DOS of structures in files and write it."""
    parser = _parser(f"{program} predict", PREDICT)
    parser.add_argument(
        "structures",
        nargs="+",
        type=str,
        help="Files of any kind that ase reads, or VASP calculations: vasprun.xml, DOSCAR, folder.",
    )
    parser.add_argument(
        "--offset",
        type=float,
        default=0.0,
        help="Added to the energies of VASP's DOS (eV), drawn beside the prediction.",
    )
    parser.add_argument(
        "--ckpt_path", type=str | None, default=None, help="Checkpoint or run folder; by default the shipped weights."
    )
    shifted = "Draw energies from the predicted Fermi level, instead of from the zero of the training data."
    parser.add_argument("--from_fermi_level", type=bool, default=False, help=shifted)
    parser.add_argument("--per_atom", type=bool, default=False, help="Draw the DOS per atom, instead of of the cell.")
    parser.add_argument(
        "--figures", type=bool, default=True, help="Draw a figure of each structure; `false` is much quicker for many."
    )
    options = parser.parse_args(list(arguments))
    check_free(options.output, "predictions.json")
    model = load_dos_model(options.ckpt_path, device(options.device))
    snapshots = structures_of(options.structures, model, offset=options.offset)
    predictions = predict_snapshots(model, snapshots)
    folder = new_folder(options.output, "predictions", "predictions.json")
    axes = {"from_fermi_level": options.from_fermi_level, "per_atom": options.per_atom}
    write_predictions(folder, predictions, snapshots, options.figures, **axes)
    say(f"{predictions_table(predictions)}\n")
    for found, item in zip(predictions, snapshots, strict=True):
        short = found.num_electrons is not None and found.num_states < found.num_electrons
        if short and not found.is_far_outside:
            say(
                f"{item.name}: the predicted DOS holds {found.num_states:.4g} of {found.num_electrons:g} electrons; "
                "its Fermi level is the end of the grid, and not to be trusted"
            )
    written = "DOS, contributions of the atoms and figures" if options.figures else "DOS and contributions of the atoms"
    say(f"{written} in {folder}")
    return 0


def _parser(program: str, description: str) -> Parser:
    parser = Parser(prog=program, description=description)
    parser.add_argument("--output", type=str | None, default=None, help="Folder for results; by default a new one.")
    parser.add_argument("--device", type=str | None, default=None, help="Where to compute; by default a GPU if any.")
    return parser


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
            runs="runs/dos",
            loss="{:.6f}",
            others={
                "table": (TABLE, lambda rest: table(rest, program)),
                "predict": (PREDICT, lambda rest: predict(rest, program)),
            },
        )
    )


if __name__ == "__main__":
    sys.exit(main())
