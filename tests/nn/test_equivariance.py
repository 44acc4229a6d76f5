"""Every layer commutes with all 60 icosahedral rotations, in both forms and both precisions."""

from typing import Any

import pytest
import torch
from torch import nn

from csgnn_dgl.graphs import ConcentricGrid
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, NormReLU, RadialConv, SpherePool
from csgnn_dgl.testing import assert_equivariant
from tests.forms import FORMS

GRID = ConcentricGrid(2, 3, kernel_size=5)
LEVEL_LAYERS = {
    "intra with self-loop": lambda form: IntraSphereConv(4, 6, form=form),
    "intra without self-loop": lambda form: IntraSphereConv(4, 6, self_loop=False, form=form),
    "radial K=1": lambda form: RadialConv(4, 6, kernel_size=1, form=form),
    "radial K=3": lambda form: RadialConv(4, 6, form=form),
    "radial K=5": lambda form: RadialConv(4, 6, kernel_size=5, form=form),
    "block": lambda form: ConcentricBlock(4, [4, 4], [8], form=form),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LEVEL_LAYERS)
def test_layers_of_one_level(name: str, form: str, dtype: torch.dtype) -> None:
    layer: nn.Module = LEVEL_LAYERS[name](form).to(dtype)
    features = torch.randn(3, 162, 2, 4, dtype=dtype)
    assert_equivariant(lambda h: layer(GRID.levels[2], h), features, outputs_are="grid")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reduction", ["max", "mean", "sum"])
def test_pooling(reduction: Any, form: Any, dtype: torch.dtype) -> None:
    pool = SpherePool(reduction, form)
    features = torch.randn(3, 162, 2, 4, dtype=dtype)
    assert_equivariant(lambda h: pool(GRID.steps[2], h), features, outputs_are="grid")
    tied = features.round()
    assert_equivariant(lambda h: pool(GRID.steps[2], h), tied, outputs_are="grid")


def test_batch_norm(dtype: torch.dtype) -> None:
    assert_equivariant(NormReLU(4).to(dtype), torch.randn(3, 162, 2, 4, dtype=dtype))
