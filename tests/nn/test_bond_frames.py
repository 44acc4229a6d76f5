"""Frames of atoms: rotations that turn with the neighbours, up to rotations of the icosahedron."""

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosahedral_rotations, random_rotations
from csgnn_dgl.nn.frames import bond_frames
from tests.tolerances import NUMERIC, ROUNDED, TOLERANCE

CUTOFF = 5.0
BOND = 1.42


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def neighbourhoods(rng: np.random.Generator, count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Atoms with three bonds, more or less flat, and farther neighbours."""
    angles = np.deg2rad([0, 120, 240])
    star = BOND * np.stack([np.cos(angles), np.sin(angles), np.full(3, 0.2)], axis=1)
    near = star + 0.1 * rng.normal(size=(count, 3, 3))
    far = rng.normal(size=(count, 6, 3))
    far *= rng.uniform(2.4, CUTOFF, size=(count, 6, 1)) / np.linalg.norm(far, axis=2, keepdims=True)
    vectors = np.concatenate([near, far], axis=1).reshape(-1, 3)
    return torch.from_numpy(vectors), torch.arange(count).repeat_interleave(9)


def turned(vectors: torch.Tensor, centre: torch.Tensor, count: int) -> torch.Tensor:
    return (bond_frames(vectors, centre, count, CUTOFF)[centre] @ vectors.double()[:, :, None]).squeeze(2)


def assert_icosahedral(changes: torch.Tensor, dtype: torch.dtype) -> None:
    """Every matrix (N, 3, 3) is one of the 60 rotations of the icosahedron."""
    group = torch.from_numpy(icosahedral_rotations().copy())
    distances = (changes[:, None] - group).abs().amax(dim=(2, 3)).amin(dim=1)
    torch.testing.assert_close(distances, torch.zeros_like(distances), **TOLERANCE[dtype])


def test_frames_turn_with_the_neighbours_up_to_the_icosahedron(rng):
    vectors, centre = neighbourhoods(rng)
    frames = bond_frames(vectors, centre, 20, CUTOFF)
    torch.testing.assert_close(frames @ frames.mT, torch.eye(3).double().expand(20, 3, 3), **TOLERANCE[torch.float64])
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(20).double(), **TOLERANCE[torch.float64])
    for turn in torch.from_numpy(random_rotations(5, rng)):
        again = bond_frames(vectors @ turn.T, centre, 20, CUTOFF)
        # frame' R v = g frame v for a rotation g of the icosahedron
        assert_icosahedral(again @ turn @ frames.mT, torch.float64)
        rounded = bond_frames((vectors @ turn.T).float(), centre, 20, CUTOFF)
        assert_icosahedral(rounded @ turn @ frames.mT, torch.float32)


def test_a_regular_star_has_a_frame_though_its_plane_has_no_axes_of_its_own(rng):
    angles = np.deg2rad([10, 130, 250])
    star = torch.from_numpy(BOND * np.stack([np.cos(angles), np.sin(angles), np.zeros(3)], axis=1))
    centre = torch.zeros(3, dtype=torch.int64)
    frame = bond_frames(star, centre, 1, CUTOFF)
    for turn in torch.from_numpy(random_rotations(20, rng)):
        assert_icosahedral(bond_frames(star @ turn.T, centre, 1, CUTOFF) @ turn @ frame.mT, torch.float64)


def test_derivatives_are_those_of_finite_differences(rng):
    vectors, centre = neighbourhoods(rng, 3)
    direction = torch.from_numpy(rng.normal(size=vectors.shape))
    weights = torch.from_numpy(rng.normal(size=vectors.shape))

    def total(step: torch.Tensor) -> torch.Tensor:
        return (turned(vectors + step * direction, centre, 3) * weights).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(total(step), step)
    numeric = (total(torch.tensor(1e-5)) - total(torch.tensor(-1e-5))) / 2e-5
    torch.testing.assert_close(slope, numeric, **NUMERIC)


def test_lone_atoms_and_pairs_have_rotations_and_finite_derivatives():
    vectors = torch.tensor([[0.0, 0, 1.3], [1.3, 0, 0], [-1.3, 0, 0]], requires_grad=True)
    frames = bond_frames(vectors, torch.tensor([1, 2, 2]), 4, CUTOFF)
    torch.testing.assert_close(frames @ frames.mT, torch.eye(3).double().expand(4, 3, 3), **ROUNDED)
    frames.sum().backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()
