"""Nearness to training shapes, against distances computed another way."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from csgnn_dgl.tasks.classification.domain import ShapeDomain
from csgnn_dgl.tasks.classification.unlike import COPIES, KINDS, unlike_clouds
from tests.tolerances import COARSE, EXACT, ROUNDED, TOLERANCE, approx


@pytest.fixture
def space() -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of three classes that lie along two of five axes, of other spreads."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    centres = 5 * torch.eye(5).double()[:3]
    spread = torch.tensor([1.0, 2.0, 0.5, 0.3, 0.1]).double()
    return centres[labels] + torch.randn(90, 5, generator=generator).double() * spread, labels


def test_within_the_classes_all_directions_have_variance_one(space) -> None:
    training, labels = space
    domain = ShapeDomain.of(training, labels, [], training)
    numbers = (training - domain.mean.double()) @ domain.projection.double()
    within = torch.cat([numbers[labels == label] - numbers[labels == label].mean(dim=0) for label in range(3)])
    np.testing.assert_allclose(within.T @ within / 90, np.eye(5), **TOLERANCE[torch.float32])


def test_distances_are_mahalanobis_distances_of_the_spread_within_the_classes(space) -> None:
    training, labels = space
    others = training[:7] + 0.5
    domain = ShapeDomain.of(training, labels, [f"shape {place}" for place in range(90)], others)
    within = torch.cat([training[labels == label] - training[labels == label].mean(dim=0) for label in range(3)])
    inverse = np.linalg.inv((within.T @ within / 90).numpy())
    between = cdist(others, training, "mahalanobis", VI=inverse)
    distances, places = domain.nearest(others)
    np.testing.assert_allclose(distances, np.sort(between)[:, :3], **COARSE)  # the references are float16
    assert (places[:, 0].numpy() == between.argmin(axis=1)).all()
    assert domain.limit == approx(np.quantile(distances.mean(dim=1), 0.95), **EXACT)


def test_what_a_checkpoint_keeps_is_the_same_again_and_other_things_are_refused(space) -> None:
    training, labels = space
    domain = ShapeDomain.of(training, labels, ["name"] * 90, training)
    stored = domain.stored()
    again = ShapeDomain.restored(stored)
    assert torch.equal(again.distances(training + 1), domain.distances(training + 1))
    assert (again.names, again.limit) == (domain.names, domain.limit)
    for wrong in (
        None,
        {**stored, "more": 1},
        {**stored, "mean": [0.0]},
        {**stored, "mean": torch.zeros(2)},
        {**stored, "labels": labels[:5]},
        {**stored, "names": ["one"]},
        {**stored, "limit": float("nan")},
        {**stored, "references": domain.references * torch.nan},
    ):
        with pytest.raises(ValueError):
            ShapeDomain.restored(wrong)


def test_fewer_training_shapes_than_neighbours_do(space) -> None:
    training, labels = space
    small = dataclasses.replace(ShapeDomain.of(training, labels, [], training), references=torch.zeros(2, 5))
    assert small.nearest(training[:4])[0].shape == (4, 2)


def test_clouds_that_are_no_objects_come_in_ten_kinds() -> None:
    clouds = unlike_clouds(50)
    assert clouds.shape == (len(KINDS) * COPIES, 50, 3) == (100, 50, 3)
    assert np.isfinite(clouds).all()
    assert np.array_equal(clouds, unlike_clouds(50)) and not np.array_equal(clouds, unlike_clouds(50, seed=1))
    np.testing.assert_allclose(np.linalg.norm(clouds[30:40], axis=-1), 1.0, **ROUNDED)  # spheres
    assert (np.linalg.norm(clouds[10:20], axis=-1) <= 1).all()  # balls
