"""The smooth mapping against its formula, and what follows from that."""

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosahedral_rotations, icosphere, vertex_permutations
from csgnn_dgl.mapping import Environments, GaussianMapping, find_environments
from tests.mapping.brute_force import random_points
from tests.tolerances import GRADCHECK, TOLERANCE

CUTOFF = 5.0


def environments(rng: np.random.Generator, dtype: torch.dtype = torch.float64) -> Environments:
    return find_environments(1.2 * random_points(9, rng), cutoff=CUTOFF, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_formula(dtype, rng, monkeypatch):
    monkeypatch.setattr("csgnn_dgl.mapping.gaussian.ATOMS_AT_ONCE", 4)
    found = environments(rng, dtype)
    features = GaussianMapping(1, 2, 3, CUTOFF)(found)
    vertices, widths = icosphere(1).vertices, 0.5 * (CUTOFF / 0.5) ** (np.arange(6) / 5)
    expected = np.zeros((6, len(vertices), len(found)))
    for vector, centre in zip(found.vectors.double().numpy(), found.centre.tolist(), strict=True):
        distance = np.linalg.norm(vector)
        fading = (np.cos(np.pi * distance / CUTOFF) + 1) / 2
        for shell, width in enumerate(widths):
            radial = np.exp(-(distance**2) / (2 * width**2)) * fading
            expected[shell, :, centre] += radial * np.exp(4 * (vertices @ vector / distance - 1))
    assert features.dtype == dtype and features.is_contiguous()
    wanted = torch.from_numpy(expected.reshape(2, 3, len(vertices), -1).transpose(0, 2, 3, 1).copy())
    torch.testing.assert_close(features, wanted.to(dtype), **TOLERANCE[dtype])


def test_rotations_permute_the_features(rng):
    mapping, found = GaussianMapping(1, 1, 4, CUTOFF), environments(rng)
    features = mapping(found)
    for turn, permutation in zip(icosahedral_rotations()[::7], vertex_permutations(1)[::7].copy(), strict=True):
        vectors = found.vectors @ torch.from_numpy(turn.copy()).T
        copy = Environments(vectors, found.centre, found.neighbour, len(found))
        torch.testing.assert_close(mapping(copy)[:, permutation], features, **TOLERANCE[torch.float64])


def test_is_differentiable_and_fades_at_the_cutoff(rng):
    mapping, found = GaussianMapping(0, 1, 2, CUTOFF), environments(rng)
    vectors = found.vectors[:7].requires_grad_()
    centre = torch.tensor([0, 0, 1, 1, 1, 3, 3])
    assert torch.autograd.gradcheck(
        lambda rows: mapping(Environments(rows, centre, centre, 4)), (vectors,), **GRADCHECK
    )
    at_end = Environments(torch.tensor([[0, 0, CUTOFF]]), torch.tensor([0]), torch.tensor([0]), 1)
    torch.testing.assert_close(mapping(at_end), torch.zeros(1, 12, 1, 2), **TOLERANCE[torch.float32])
    assert mapping(Environments(torch.zeros(0, 3), torch.zeros(0).long(), torch.zeros(0).long(), 2)).sum() == 0
