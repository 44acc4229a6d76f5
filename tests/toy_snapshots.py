"""A set of atomic snapshots that takes no time: three kinds of carbon, whose DOS follows from the bond length."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from csgnn_dgl.electronic import PAPER_GRID

STRUCTURES = ("chain", "dimer", "square")
AGNI_CONFIG: dict[str, Any] = {"num_widths": 2, "hidden": 8}
NETWORKS: dict[str, dict[str, Any]] = {
    "csgnn": {"level": 0, "channels": 2, "base_width": 1},
    "agni": AGNI_CONFIG,
    "schnet": {"num_features": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 4, "hidden": 8},
}
"""Smallest networks of all kinds, by the names of `csgnn_dgl.models.DOS_MODELS`."""


def toy_atoms(structure: str, bond: float) -> Atoms:
    """Make a structure of the given bond length, with a DOS of two bands that the length shifts."""
    if structure == "chain":
        atoms = Atoms("C3", [[0, 0, bond * k] for k in range(3)], cell=[0, 0, 3 * bond], pbc=[False, False, True])
    elif structure == "dimer":
        atoms = Atoms("C2", [[0, 0, 0], [0, 0, bond]])
    else:
        atoms = Atoms("C4", [[0, 0, 0], [bond, 0, 0], [bond, bond, 0], [0, bond, 0]])
    energies = PAPER_GRID.centres
    number = STRUCTURES.index(structure)
    centres = np.array([[-18.0 + number], [-8.0 - number]]) + 3 * (bond - 1.4)
    bands = np.exp(-((energies - centres) ** 2) / 2).sum(axis=0)
    dos = bands * len(atoms) * 4.4 / (bands.sum() * PAPER_GRID.width)
    atoms.info.update(structure=structure, temperature=300, num_electrons=4 * len(atoms), dos=dos)
    return atoms


def write_snapshots(folder: Path, num_train: int = 5, num_val: int = 2, num_test: int = 3) -> Path:
    """Write ``train.extxyz``, ``val.extxyz`` and ``test.extxyz`` with so many snapshots of each structure."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_val), ("test", num_test)):
        frames = [toy_atoms(name, rng.uniform(1.3, 1.5)) for name in STRUCTURES for _ in range(count)]
        write(folder / f"{split}.extxyz", frames, format="extxyz")
    return folder


def band_energy_by_hand(dos: np.ndarray, electrons: float) -> tuple[float, float]:
    """Band energy and Fermi level (Eq. 4) of a DOS that is constant in each bin: whole bins, and a part of one."""
    filled = np.cumsum(dos) * 0.1
    last = int(np.searchsorted(filled, electrons - 1e-9))
    if last == len(dos):  # a prediction with too few states: filled to the end of the grid
        return (dos * 0.1 * PAPER_GRID.centres).sum(), 1.0
    part = (electrons - (filled[last - 1] if last else 0.0)) / dos[last]
    level = -30 + 0.1 * last + part
    whole = (dos[:last] * 0.1 * PAPER_GRID.centres[:last]).sum()
    return whole + dos[last] * part * (-30 + 0.1 * last + part / 2), level
