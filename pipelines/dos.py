"""Train, test and use models of the electronic density of states (DOS).

Without arguments it trains a small model on the built-in carbon structures, tests it and prints a table.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.models.trust import EVERYTHING, trusting
from csgnn_dgl.tasks.dos import DOSData, load_dos_model
from csgnn_dgl.tasks.dos.leaving_out import LeftOut, entries_of, headline, structures_to_leave_out
from csgnn_dgl.tasks.dos.prediction import predict_snapshots
from csgnn_dgl.tasks.dos.structures import structures_of
from csgnn_dgl.tasks.dos.task import TASK
from csgnn_dgl.tasks.dos.writing import predictions_table, write_predictions
from csgnn_dgl.training import compare
from csgnn_dgl.training.config import Parser, check_file, instantiate, parse, parser_of, read_yaml, words_of
from csgnn_dgl.training.sweep import Sweep
from pipelines import cli
from pipelines.options import check_free, device, new_folder, num_cores
from pipelines.terminal import INTERRUPTED, guarded, say

PROGRAM = "python -m pipelines.dos"
FAILED = 1
SHIPPED = "dos/csgnn_frames.yaml"
"""Config of the weights that come with the package."""

DESCRIPTION = (
    "Train and test models of the electronic density of states. Without arguments: train a small model on the built-in "
    "carbon structures, test it and print a table, within five minutes on two CPU cores. "
    f"`--model {{{','.join(DOS_MODELS)}}}` chooses a model: alone, with its config in configs/dos."
)
TABLE = "Test runs on the same test snapshots, as Table 2 does."
PREDICT = "Predict the density of states of atomic structures."
LEAVE_OUT = (
    "Train models without one structure of the training data and test them on it, for each structure in turn, and "
    "print one table. The same command goes on after any interruption; what is finished is kept."
)
CONFIGS = (
    "Configs (of this package, or paths), whose models become the columns; dos/csgnn_frames.yaml if none is given."
)
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


def leave_out(arguments: Sequence[str], program: str) -> int:
    """Train without each structure in turn, test on it, and print one table."""
    parser = Parser(prog=f"{program} leave_out", description=LEAVE_OUT)
    parser.add_argument("configs", nargs="*", type=str, help=CONFIGS)
    parser.add_argument("--structures", nargs="+", type=str, default=None, help="What to leave out; by default each.")
    parser.add_argument("--source", type=str | None, default=None, help="Other data than those of the configs.")
    folder = "Folder of all trainings; the same one goes on with them."
    parser.add_argument("--output", type=str, default="runs/dos/leave_out", help=folder)
    parser.add_argument("--jobs", type=int, default=num_cores(), help="Trainings at a time, each on one core.")
    trust = "Let configs name classes from outside of this package, which are run: as trusted as a program."
    parser.add_argument("--trust", action="store_true", help=trust)
    options = parser.parse_args(list(arguments))
    sweep = Sweep(options.output)
    with trusting(*([EVERYTHING] if options.trust else [])):
        models = {}
        for word in options.configs or [SHIPPED]:
            file = cli.find_config(word)
            content = read_yaml(file)
            check_file(file, content)
            if options.source:
                content["data"] = {**content.get("data", {}), "source": options.source}
            models[file.stem] = content
        read = {name: data_of(content) for name, content in models.items()}
        first = next(iter(read.values()))
        for name, data in read.items():
            if data.reading() != first.reading():
                raise InputError(f"{name} reads other data than {next(iter(read))}; compare models on the same")
        entries = entries_of(models, structures_to_leave_out(first, options.structures))
        sweep.begin(entries, None, {"data": first.source})
        try:
            with sweep.locked():
                failed = sweep.carry_out(options.jobs, say, headline)
                found = LeftOut.of(sweep)
                found.write(sweep.folder)
        except KeyboardInterrupt:
            again = shlex.join([*program.split(), "leave_out", *arguments])
            say(f"stopped; finished ones are kept, go on with: {again}")
            return INTERRUPTED
    say(f"\n{found}\n")
    say(f"table and data in {sweep.folder / 'leave_out.md'} and .json")
    for name, why in failed.items():
        say(f"{name} is missing, because it failed: {why}")
    return FAILED if failed else 0


def data_of(config: Mapping[str, Any]) -> DOSData:
    """Build the data of a training's options."""
    return instantiate(TASK, "fit", parse(parser_of(TASK, "fit"), words_of([config]))).data


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
                "leave_out": (LEAVE_OUT, lambda rest: leave_out(rest, program)),
                "predict": (PREDICT, lambda rest: predict(rest, program)),
            },
        )
    )


if __name__ == "__main__":
    sys.exit(main())
