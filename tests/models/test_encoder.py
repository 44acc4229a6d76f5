"""The encoder by itself: the features of its levels, equivariance, and what it says to widths that do not fit."""

from typing import Any

import pytest
import torch

from csgnn_dgl.models.encoder import ConcentricEncoder
from csgnn_dgl.testing import assert_equivariant
from tests.tolerances import TOLERANCE

WIDTHS = [([4, 4], [6]), ([8], [10, 10]), ([12], [])]


def encoder(**changes: Any) -> ConcentricEncoder:
    torch.manual_seed(1)
    return ConcentricEncoder(**{"level": 2, "num_spheres": 3, "channels": 2, "widths": WIDTHS, **changes}).double()


@pytest.mark.parametrize("recompute", [False, True])
def test_features_of_all_levels_are_those_before_pooling(recompute: bool) -> None:
    model, features = encoder(recompute=recompute), torch.rand(3, 162, 2, 2, dtype=torch.float64)
    model.eval()
    found = model(features, return_features=True)
    assert [tuple(item.shape) for item in found] == [(3, 162, 2, 6), (3, 42, 2, 10), (3, 12, 2, 12)]
    assert model.out_channels == [6, 10, 12]
    h = features
    for index, block in zip((2, 1, 0), model.blocks, strict=True):
        h = block(model.grid.levels[index], h)
        torch.testing.assert_close(found[2 - index], h, **TOLERANCE[torch.float64])
        h = model.pool(model.grid.steps[index], h) if index else h
    assert torch.equal(model(features), found[-1])
    assert torch.equal(model(features.flatten(0, 1)), found[-1])


def test_a_loss_on_the_features_of_all_levels_reaches_every_weight() -> None:
    found: dict[bool, list[Any]] = {}
    for recompute in (False, True):
        model = encoder(recompute=recompute)
        features = torch.rand(3, 162, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        sum(item.square().sum() for item in model(features, return_features=True)).backward()
        found[recompute] = [parameter.grad for parameter in model.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(found[False], found[True], strict=True))


@pytest.mark.parametrize("place", range(3))
def test_the_features_of_each_level_turn_with_the_input(place: int) -> None:
    model = encoder().eval()
    features = torch.rand(3, 162, 1, 2, dtype=torch.float64)
    assert_equivariant(lambda features: model(features, return_features=True)[place], features)


def test_widths_must_be_given_for_every_level() -> None:
    with pytest.raises(ValueError, match="a pair for each of the 3 levels, not 2"):
        encoder(widths=WIDTHS[:2])
    with pytest.raises(ValueError, match=r"\(3, 162, B, C\) expected"):
        encoder()(torch.zeros(3, 42, 2, 2, dtype=torch.float64))
