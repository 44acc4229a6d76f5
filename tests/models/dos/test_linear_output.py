"""The output that is solved for, and CSGNN-DOS in frames of atoms, which no rotation changes."""

from typing import Any

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.mapping import Environments
from csgnn_dgl.models.dos.base import FeatureModel, LinearOutput
from tests.models.dos.molecules import batch, small
from tests.tolerances import TOLERANCE


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_solves_for_the_layers_that_made_the_targets(rng):
    features = torch.from_numpy(rng.normal(size=(40, 6)))
    weights, bias = torch.from_numpy(rng.normal(size=(5, 6))), torch.from_numpy(rng.normal(size=5))
    targets = features @ weights.T + bias
    output = LinearOutput(6, 4).double()
    output.solve(features, targets[:, :4], targets[:, 4], ridge=1e-14)
    torch.testing.assert_close(output.with_level(features), targets, **TOLERANCE[torch.float64])
    torch.testing.assert_close(output(features), targets[:, :4], **TOLERANCE[torch.float64])


def test_solves_ridge_regression(rng):
    features, targets = torch.from_numpy(rng.normal(size=(12, 3))), torch.from_numpy(rng.normal(size=(12, 3)))
    output = LinearOutput(3, 2).double()
    output.solve(features, targets[:, :2], targets[:, 2], ridge=0.3)
    scaled = (features - features.mean(0)) / (features.std(0, correction=0) + 1e-4)
    # as least squares with rows of the penalty below
    rows = torch.cat([scaled, (12 * 0.3) ** 0.5 * torch.eye(3).double()])
    wanted = torch.cat([targets - targets.mean(0), torch.zeros(3, 3).double()])
    solution = torch.linalg.lstsq(rows, wanted).solution
    torch.testing.assert_close(
        output.with_level(features), scaled @ solution + targets.mean(0), **TOLERANCE[torch.float32]
    )


@pytest.mark.parametrize("kind", ["csgnn", "agni"])
def test_the_dos_of_a_snapshot_is_linear_in_its_mean_features(kind):
    changes: dict[str, Any] = {"mapping": "gaussian", "frame": "bonds"} if kind == "csgnn" else {}
    model = small(kind, output="linear", **changes)
    environments, snapshot = batch()
    assert isinstance(model, FeatureModel) and isinstance(model.output, LinearOutput)
    features = model.mean_features(environments, snapshot, 3)
    found = model(environments, snapshot, 3)
    torch.testing.assert_close(found, model.output.with_level(features), **TOLERANCE[torch.float64])
    atoms = model.atom_dos(environments)
    torch.testing.assert_close(found[0, :-1], atoms[:5].mean(0), **TOLERANCE[torch.float64])
    model.start_from(torch.ones(4, 9).double())
    torch.testing.assert_close(model.atom_dos(environments), torch.ones(16, 9).double(), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("mapping", ["interpolated", "gaussian"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_with_frames_no_rotation_changes_the_dos(mapping, dtype):
    model = small("csgnn", dtype, mapping=mapping, frame="bonds", level=1)
    environments, _ = batch()
    # those of the cluster have two neighbours in a line, or none
    vectors, centre = environments.vectors, environments.centre
    whole = torch.arange(16) < 5
    wanted = model.atom_dos(environments.to(dtype=dtype))[whole]
    for turn in torch.from_numpy(random_rotations(4, np.random.default_rng(0))):
        turned = Environments(vectors @ turn.T, centre, environments.neighbour, 16).to(dtype=dtype)
        torch.testing.assert_close(model.atom_dos(turned)[whole], wanted, **TOLERANCE[dtype])


def test_frame_and_output_are_checked():
    with pytest.raises(ValueError, match="frame must be"):
        small("csgnn", frame="axes")
    with pytest.raises(ValueError, match="output must be"):
        small("agni", output="deep")
