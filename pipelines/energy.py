"""Train, test and use models of the energy of molecules and cells, and of the forces on atoms.

Without arguments it trains a small model on the built-in carbon structures, tests it and prints a table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.data.atoms.energies import bare_structures
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.tasks.energy.calculator import EnergyCalculator
from csgnn_dgl.tasks.energy.task import TASK
from csgnn_dgl.training.config import Parser
from csgnn_dgl.training.report import markdown_table
from pipelines import cli
from pipelines.terminal import guarded, say

PROGRAM = "python -m pipelines.energy"
DESCRIPTION = (
    "Train and test models of the energy of molecules and cells, and of the forces on atoms. Without arguments: train "
    "a small model on the built-in carbon structures with energies of Tersoff's potential, test it and print a table, "
    "within three minutes on two CPU cores."
)
PREDICT = "Predict energies and forces of atomic structures."
DEFAULT = ("fit", "--config", "configs/energy/quick.yaml", "--name", "quick")


def predict(arguments: Sequence[str], program: str) -> int:
    """Predict energies and forces of structures in files, and print them or write them as extended XYZ."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    parser = Parser(prog=f"{program} predict", description=PREDICT)
    parser.add_argument("structures", nargs="+", type=str, help="Files of any kind that ase reads.")
    parser.add_argument("--ckpt_path", type=str, required=True, help="Checkpoint or run folder.")
    output = "New file for structures, energies and forces, as extended XYZ."
    parser.add_argument("--output", type=str | None, default=None, help=output)
    options = parser.parse_args(list(arguments))
    if options.output is not None and Path(options.output).exists():
        raise InputError(f"{options.output} exists; name a new file with --output")
    calculator = EnergyCalculator(options.ckpt_path)
    atoms, rows = [], []
    for path in options.structures:
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file; give a structure of any kind that ase reads")
        found = read_atoms(Path(path))
        bare_structures(found, path, calculator.network.elements)  # tells by name what cannot be used
        for index, one in enumerate(found):
            one.calc = calculator
            energy, largest = one.get_potential_energy(), np.linalg.norm(one.get_forces(), axis=1).max()
            numbers = f"{energy:.4f}", f"{energy / len(one):.4f}", f"{largest:.4f}"
            rows.append((path, str(index), one.get_chemical_formula(), *numbers))
            one.calc = SinglePointCalculator(one, energy=energy, forces=one.get_forces())
            atoms.append(one)
    if options.output is not None:
        with atomic_write(options.output) as file:
            write(file, atoms, format="extxyz")
    say(markdown_table(("file", "structure", "formula", "energy (eV)", "per atom", "largest force (eV/Å)"), rows))
    if options.output is not None:
        say(f"\nwritten to {options.output}")
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
            runs="runs/energy",
            loss="{:.6f}",
            others={"predict": (PREDICT, lambda rest: predict(rest, program))},
        )
    )


if __name__ == "__main__":
    sys.exit(main())
