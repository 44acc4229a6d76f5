"""Environments of whole sets of snapshots."""

import pickle

import numpy as np
import pytest
import torch
from ase import Atoms

from csgnn_dgl.data import Snapshots, from_atoms
from csgnn_dgl.mapping import Environments, find_environments


@pytest.fixture
def snapshots() -> Snapshots:
    """A lone atom, a molecule and a crystal."""
    rng = np.random.default_rng(0)
    molecule = Atoms("C9", np.arange(9)[:, None] * [0, 0, 1.4] + rng.uniform(-0.2, 0.2, (9, 3)))
    return from_atoms([Atoms("C"), molecule, Atoms("C2", [[0, 0, 0], [1, 1, 1]], cell=[3, 3, 3], pbc=True)])


def same(one: Environments, other: Environments) -> bool:
    parts = ("vectors", "centre", "neighbour")
    return len(one) == len(other) and all(torch.equal(getattr(one, part), getattr(other, part)) for part in parts)


@pytest.mark.parametrize("cutoff", [2.0, 4.0])
def test_a_table_has_the_environments_of_each_snapshot(snapshots, dtype, cutoff):
    table = pickle.loads(pickle.dumps(snapshots.environments(cutoff, dtype)))
    assert len(table) == 3
    assert table.num_atoms == [1, 9, 2]
    for index, item in enumerate(snapshots):
        wanted = find_environments(item.positions, item.cell, item.pbc, cutoff, dtype)
        assert same(table[index], wanted) and same(list(table)[index], wanted)
        assert same(item.environments(cutoff, dtype), wanted)
        assert table[index].vectors.dtype == dtype
        assert table[index].centre.dtype == table[index].neighbour.dtype == torch.int64
    with pytest.raises(IndexError):
        table[3]


def test_neighbours_are_searched_once_for_each_cutoff_and_dtype(snapshots, monkeypatch):
    searched = []

    def noted(*arguments):
        searched.append(arguments[3:])
        return find_environments(*arguments)

    monkeypatch.setattr("csgnn_dgl.data.atoms.records.find_environments", noted)
    first = snapshots.environments(4.0)
    assert snapshots.environments(4.0) is first
    assert searched == 3 * [(4.0, torch.float32)]
    snapshots.environments(4.0, torch.float64), snapshots.environments(3.0)
    assert len(searched) == 9
