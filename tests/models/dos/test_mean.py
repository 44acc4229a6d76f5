"""The baseline of structures' means against plain loops."""

import numpy as np
import pytest
import torch

from csgnn_dgl.data import Snapshot, Snapshots
from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.models import StructureMean
from tests.tolerances import TOLERANCE

GRID = EnergyGrid(0.0, 1.0, 4)


def snapshots(*structures: str) -> Snapshots:
    """One snapshot of each name, with 2 or 3 atoms and a DOS of its own."""
    rng = np.random.default_rng(len(structures))
    items = []
    for index, name in enumerate(structures):
        atoms = 2 + index % 2
        places = 1.5 * np.arange(atoms)[:, None] * np.ones(3)
        dos = rng.uniform(1, 4, size=4) * atoms
        items.append(
            Snapshot(places, np.full(atoms, 6), np.zeros((3, 3)), np.zeros(3, bool), 1.0, dos, GRID, structure=name)
        )
    return Snapshots(tuple(items))


def test_predictions_are_means_per_atom() -> None:
    train, test = snapshots("a", "b", "a", "a", "b"), snapshots("b", "a", "b", "unknown")
    predicted = StructureMean().fit(train).predict(test)
    per_atom = train.dos / train.num_atoms[:, None]
    mean_a, mean_b = (per_atom[0] + per_atom[2] + per_atom[3]) / 3, (per_atom[1] + per_atom[4]) / 2
    wanted = np.stack([mean_b, mean_a, mean_b, per_atom.sum(axis=0) / 5])
    assert np.allclose(predicted, wanted, **TOLERANCE[torch.float64])


def test_it_must_be_fitted_first() -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        StructureMean().predict(snapshots("a"))
