"""The encoder by itself: the features of its levels, equivariance, and what it says to widths that do not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from csgnn_dgl import RadialConv
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CLASSIFIERS, CSGNN, CSGNNDOS
from csgnn_dgl.models.encoder import ConcentricEncoder
from csgnn_dgl.testing import assert_equivariant
from tests.models.toys import TwoWeights
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


def test_a_convolution_with_other_weights_is_handed_down(tmp_path: Path) -> None:
    model: Any = CSGNN(**CSGNN.tiny, num_classes=4, make_intra=TwoWeights).double().eval()
    points = torch.randn(2, 64, 3, dtype=torch.float64)
    assert [type(conv) for block in model.encoder.blocks for conv in block.intra] == [TwoWeights] * 3
    assert_equivariant(model, points, outputs_are="invariant")
    features = torch.randn(2, 42, 1, 2, dtype=torch.float64)
    conv, level = model.encoder.blocks[0].intra[0], model.encoder.grid.levels[1]
    ring = torch.from_numpy(icosphere(1).neighbours.copy())
    summed = torch.where((ring >= 0)[..., None, None], features[:, ring], 0).sum(dim=2)
    wanted = features @ conv.root.weight.T + summed @ conv.ring.weight + conv.ring.bias
    torch.testing.assert_close(conv(level, features), wanted, **TOLERANCE[torch.float64])
    assert model.config["make_intra"] == "tests.models.toys.TwoWeights"
    CLASSIFIERS.write(tmp_path / "model.ckpt", model)
    again = CSGNN.from_checkpoint(tmp_path / "model.ckpt").double()
    assert torch.equal(again(points), model(points))
    dos: Any = CSGNNDOS(**CSGNNDOS.tiny, make_intra="tests.models.toys.TwoWeights", make_radial=five_taps)
    assert sum(isinstance(module, TwoWeights) for module in dos.modules()) == 3
    assert [conv.kernel_size for conv in dos.encoder.blocks[0].radial] == [5, 5]
    with pytest.raises(InputError, match="'mine.Conv' cannot be imported"):
        CSGNN(**CSGNN.tiny, make_intra="mine.Conv")


def five_taps(in_channels: int, out_channels: int) -> RadialConv:
    return RadialConv(in_channels, out_channels, 5)
