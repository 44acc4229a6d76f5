"""AGNI fingerprints against plain loops, their standardisation, and the network's size."""

from typing import Any

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.mapping import Environments, find_environments
from csgnn_dgl.models import AGNI
from csgnn_dgl.models.dos import agni
from csgnn_dgl.models.dos.agni import AGNIFingerprint, Standardise
from tests.models.dos.molecules import CUTOFF, batch, crystal, positions
from tests.tolerances import EXACT, TOLERANCE, approx, assert_same_up_to_scale


def naive(vectors: np.ndarray, widths: list[float], cutoff: float) -> list[list[float]]:
    """The four invariants of one environment for each width, neighbour by neighbour."""
    found = []
    for width in widths:
        scalar, vector, tensor = 0.0, np.zeros(3), np.zeros((3, 3))
        for r in vectors:
            d = np.linalg.norm(r)
            weight = np.exp(-0.5 * (d / width) ** 2) * (np.cos(np.pi * d / cutoff) + 1) / 2
            scalar, vector, tensor = (
                scalar + weight,
                vector + weight * r / width,
                tensor + weight * np.outer(r, r) / width**2,
            )
        a, b, c = np.linalg.eigvalsh(tensor)
        found.append([scalar, np.linalg.norm(vector), np.log(1 + a * b + b * c + c * a), np.log(1 + a * b * c)])
    return found


def test_fingerprints_are_those_of_plain_loops(dtype: torch.dtype) -> None:
    environments, _ = batch(dtype)
    fingerprint = AGNIFingerprint(4, CUTOFF)
    assert fingerprint.widths == approx([0.5, 0.5 * 6 ** (1 / 3), 0.5 * 6 ** (2 / 3), 3.0], **EXACT)
    got = fingerprint(environments)
    assert got.dtype == torch.float64
    for atom in range(16):
        vectors = environments.chunk(atom, atom + 1).vectors.double().numpy()
        wanted = np.array(naive(vectors, fingerprint.widths, CUTOFF)).T.ravel()
        np.testing.assert_allclose(got[atom], wanted, **TOLERANCE[torch.float64])
    assert (got[8] == 0).all()  # an atom without neighbours
    assert (got[[0, 9, 12]] > 0).all()


def test_fingerprints_of_many_atoms_are_computed_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    environments, _ = batch()
    wanted = AGNIFingerprint(4, CUTOFF)(environments)
    monkeypatch.setattr(agni, "ATOMS_AT_ONCE", 5)
    torch.testing.assert_close(AGNIFingerprint(4, CUTOFF)(environments), wanted, **TOLERANCE[torch.float64])


def test_flat_environments_are_invariant_too(dtype: torch.dtype) -> None:
    hexagons = 1.42 * np.array([[0, 0, 0], [1, 0, 0], [-0.5, 3**0.5 / 2, 0], [-0.5, -(3**0.5) / 2, 0], [1.5, 0.9, 0]])
    environments = find_environments(hexagons, cutoff=7.0, dtype=dtype)
    fingerprint = AGNIFingerprint(18, 7.0)
    wanted = fingerprint(environments)
    for rotation in random_rotations(20, np.random.default_rng(1)):
        turned = fingerprint(environments.rotated(torch.tensor(rotation)))
        torch.testing.assert_close(turned, wanted, **TOLERANCE[dtype])


def test_a_neighbour_at_the_cutoff_does_not_count() -> None:
    vectors = torch.tensor([[1.0, 0, 0], [0, 3.0, 0]], dtype=torch.float64)
    both = Environments(vectors, torch.zeros(2).long(), torch.zeros(2).long(), 1)
    one = Environments(vectors[:1], torch.zeros(1).long(), torch.zeros(1).long(), 1)
    fingerprint = AGNIFingerprint(3, 3.0)
    assert torch.equal(fingerprint(both), fingerprint(one))


def test_standardisation_is_that_of_all_rows_seen_in_training() -> None:
    rows = torch.randn(40, 3, dtype=torch.float64) * torch.tensor([1e-3, 1, 1e3]) + torch.tensor([5, 0, 1e6])
    layer = Standardise(3, eps=0.0)
    assert torch.equal(layer.eval()(rows), rows)
    for part in rows.split([1, 12, 7, 20]):
        last = layer.train()(part)
    wanted = (rows - rows.mean(dim=0)) / rows.std(dim=0, correction=0)
    assert_same_up_to_scale(last, wanted[20:])
    assert_same_up_to_scale(layer.eval()(rows), wanted)
    assert float(layer.total) == 40


def test_a_feature_that_never_changes_becomes_zero() -> None:
    layer = Standardise(2)
    assert torch.equal(layer(torch.full((4, 2), 3.0, dtype=torch.float64)), torch.zeros(4, 2, dtype=torch.float64))


def test_the_network_is_the_composition_that_it_says() -> None:
    model: Any = AGNI(num_widths=3, hidden=8, cutoff=CUTOFF, num_bins=5).double().train()
    environments = crystal(6)
    h = model.fingerprint(environments)
    h = (h - h.mean(dim=0)) / (h.var(dim=0, correction=0) + 1e-4).sqrt()
    for linear in model.dense[::2]:
        h = h @ linear.weight.T + linear.bias
        h = ((h - h.mean(dim=0)) / (h.var(dim=0, correction=0) + 1e-5).sqrt()).clamp(min=0)
    torch.testing.assert_close(model.atom_dos(environments), model.output(h), **TOLERANCE[torch.float64])
    assert len(model.dense) == 6


def test_the_number_of_parameters_is_near_the_published_392_thousand() -> None:
    assert sum(p.numel() for p in AGNI().parameters()) == 391_797


@pytest.mark.parametrize("arguments", [{"num_widths": 0}, {"hidden": 0}, {"cutoff": 0.4}])
def test_wrong_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        AGNI(**arguments)


def test_one_atom_alone_is_predicted_but_not_trained_on() -> None:
    model, alone = AGNI(cutoff=CUTOFF), find_environments(positions(1), cutoff=CUTOFF)
    assert model.eval().atom_dos(alone).shape == (1, 310)
    with pytest.raises(ValueError, match="more than one observation"):
        model.train().atom_dos(alone)
