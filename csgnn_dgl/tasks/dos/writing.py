"""Predicted densities of states as tables, files and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from csgnn_dgl.data import Snapshot, Snapshots
from csgnn_dgl.files import atomic_write
from csgnn_dgl.tasks.dos.figures import prediction_figure, reference_of
from csgnn_dgl.tasks.dos.prediction import DOSPrediction
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.training.report import markdown_table

LONGEST = 80
"""Most letters of a name in a table or of a file."""

OUTSIDE = "outside of the training data"
"""What stands in place of numbers that mean nothing."""


def predictions_table(predictions: Sequence[DOSPrediction]) -> str:
    """Return the predictions' numbers as a table.

    The last column has the largest deviation of each structure's atoms, beside that of the training in its title.
    Where it is far above, Fermi level and band energy are left out.
    """
    head = ["structure", "atoms", "electrons", "Fermi level (eV)", "band energy (eV)", "per atom (eV)"]
    known = [found.training_deviation for found in predictions if found.training_deviation is not None]
    if known:
        head.append(f"deviation (training: up to {known[0]:.1f})")
    rows = []
    for found in predictions:
        numbers = [OUTSIDE, "–", "–"]
        if not found.is_far_outside:
            energies = found.fermi_level, found.band_energy, found.band_energy_per_atom
            numbers = [f"{energy:.4f}" for energy in energies]
        electrons = "unknown" if found.num_electrons is None else f"{found.num_electrons:g}"
        row = [shown(found.name), str(found.num_atoms), electrons, *numbers]
        if known:
            row.append("unknown" if found.deviation is None else f"{found.deviation:.1f}")
        rows.append(row)
    return markdown_table(head, rows)


def shown(name: str) -> str:
    """Return a name of any letters as it can stand in a line of a table."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(name.split())).replace("|", "/")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def write_predictions(
    folder: Path, predictions: Sequence[DOSPrediction], snapshots: Snapshots, figures: bool = True, **axes: bool
) -> Path:
    """Write predictions into a folder.

    For each structure ``NAME.csv`` has energies (eV) and DOS (states/eV), ``NAME.atoms.csv`` a line for each atom with
    its element, position (Å), number of states and deviation from the training, ``NAME.npz`` the arrays ``energies``
    (count,), ``dos`` (count,), ``atom_dos`` (N, count) and ``deviation`` (N,), and ``NAME.png`` the figure; for NAME
    see `file_names`. ``predictions.json`` has the Fermi level and energies of all, null where they mean nothing.

    Parameters
    ----------
    folder
        Where to write; made if missing.
    predictions, snapshots
        The predictions, and the snapshots they are for; a DOS that these have is drawn too.
    figures
        Whether to draw figures, which takes much longer than predicting.
    **axes
        How they are drawn: ``from_fermi_level`` and ``per_atom`` of `prediction_figure`.

    Returns
    -------
    Path
        The JSON file.
    """
    # unknown electrons are refused before anything is written
    levels = [None if found.is_far_outside else found.fermi_level for found in predictions]
    records = []
    for name, level, found, item in zip(file_names(snapshots), levels, predictions, snapshots, strict=True):
        with atomic_write(folder / f"{name}.csv") as file:
            table = np.column_stack([found.energies, found.dos])
            np.savetxt(file, table, fmt="%.6g", delimiter=",", header="energy_eV,dos_states_per_eV", comments="")
        with atomic_write(folder / f"{name}.atoms.csv") as file:
            file.write_text(_atom_lines(found, item), encoding="utf-8")
        arrays = {"energies": found.energies, "dos": found.dos, "atom_dos": found.atom_dos}
        if found.atom_deviation is not None:
            arrays["deviation"] = found.atom_deviation
        with atomic_write(folder / f"{name}.npz") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        if figures:
            reference = reference_of(item)
            figure = prediction_figure(found.grid, found.dos, level, found.name, found.num_atoms, reference, **axes)
            with atomic_write(folder / f"{name}.png") as file:
                save_figure(figure, file)
        record = {"name": name, "structure": found.name, "source": item.source, "index": item.index}
        measured = ("num_atoms", "num_electrons", "num_states", "deviation", "training_deviation")
        records.append(
            {
                **record,
                **{key: getattr(found, key) for key in measured},
                "fermi_level": level,
                "band_energy": None if level is None else found.band_energy,
            }
        )
    target = folder / "predictions.json"
    with atomic_write(target) as file:
        file.write_text(json.dumps(records, indent=1), encoding="utf-8")
    return target


def _atom_lines(found: DOSPrediction, item: Snapshot) -> str:
    from ase.data import chemical_symbols

    states = found.atom_dos.sum(axis=1) * found.grid.width
    lines = ["atom,element,x_angstrom,y_angstrom,z_angstrom,states,deviation"]
    for place, (number, position) in enumerate(zip(item.numbers, item.positions, strict=True)):
        deviation = "" if found.atom_deviation is None else f"{found.atom_deviation[place]:.4g}"
        coordinates = ",".join(f"{value:.6f}" for value in position)
        lines.append(f"{place},{chemical_symbols[number]},{coordinates},{states[place]:.6g},{deviation}")
    return "\n".join([*lines, ""])


def file_names(snapshots: Snapshots) -> list[str]:
    """Return a name for the files of each snapshot; no two are the same, upper and lower case being one.

    It is the name of the file that the snapshot came from up to the first dot, and after a hyphen its place in the file
    where that has several. Files of the same name have their folders before it. Where that is not enough, what follows
    the dot is added, or a number. Letters that are neither of an alphabet nor digits become underscores.
    """
    groups: list[list[Snapshot]] = []
    for item in snapshots:
        last = groups[-1][-1] if groups else item
        if not groups or item.source != last.source or item.index <= last.index:
            groups.append([])
        groups[-1].append(item)
    folders: dict[str, set[Path]] = {}
    for path in (Path(group[0].source) for group in groups):
        folders.setdefault(_stem(path).casefold(), set()).add(path.parent)
    taken: set[str] = set()
    names: list[str] = []
    for group in groups:
        path = Path(group[0].source)
        for stem in _stems(path, len(folders[_stem(path).casefold()]) > 1):
            found = [stem] if len(group) == 1 else [f"{stem}-{item.index}" for item in group]
            if taken.isdisjoint(name.casefold() for name in found):
                break
        taken.update(name.casefold() for name in found)
        names += found
    return names


def _stems(path: Path, several_folders: bool) -> Iterator[str]:
    """Go through the names that the predictions for a file may have, the best ones first."""
    inner, whole = _stem(path), _safe(path.name)
    if several_folders and path.parent.name:
        folder = _safe(path.parent.name)
        yield from (_safe(f"{folder}-{inner}"), _safe(f"{folder}-{whole}"))
    yield from (inner, whole)
    for number in count(2):
        yield f"{inner}_{number}"


def _stem(path: Path) -> str:
    return _safe(path.name.split(".")[0])


def _safe(stem: str) -> str:
    """Return the name of a file without letters that file systems or shells take for something else."""
    text = re.sub(r"[^\w+-]", "_", stem).lstrip("-")
    return text.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore") or "structure"
