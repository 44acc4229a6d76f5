"""Batch norm with its activation, and linear layers made with it, against torch's own layers."""

import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.nn import Norm, NormReLU, SharedDropout, mlp
from tests.tolerances import TOLERANCE


def train(layer: nn.Module, rows: Tensor) -> list[Tensor]:
    rows = rows.clone().requires_grad_()
    result = layer(rows)
    result.mul(torch.linspace(-1, 2, result.numel(), dtype=rows.dtype).view_as(result)).sum().backward()
    assert rows.grad is not None
    buffers = [buffer for buffer in layer.buffers() if buffer.is_floating_point()]
    return [result.detach(), rows.grad, *(p.grad for p in layer.parameters() if p.grad is not None), *buffers]


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_it_is_torchs_batch_norm_and_leaky_relu(slope: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    own = Norm(5, eps=1e-3, momentum=1.0, slope=slope).to(dtype)
    other = nn.Sequential(nn.BatchNorm1d(5, 1e-3, 1.0), nn.LeakyReLU(slope)).to(dtype)
    with torch.no_grad():
        for parameters in zip(own.parameters(), other.parameters(), strict=True):
            parameters[1].copy_(parameters[0].uniform_(-1, 1))
    rows = torch.randn(30, 5, dtype=dtype)
    for one, two in zip(train(own, rows), train(other, rows), strict=True):
        torch.testing.assert_close(one, two, **TOLERANCE[dtype])
    torch.testing.assert_close(own.eval()(rows), other.eval()(rows), **TOLERANCE[dtype])


def test_a_slope_of_zero_is_the_norm_of_the_convolutions() -> None:
    rows = torch.randn(4, 3)
    assert torch.equal(NormReLU(3)(rows), Norm(3, slope=0.0)(rows))


@pytest.mark.parametrize("slope", [-0.1, 1.1])
def test_other_slopes_are_refused(slope: float) -> None:
    with pytest.raises(ValueError, match=f"^slope must be within \\[0, 1\\], not {slope}$"):
        Norm(3, slope=slope)


def test_an_mlp_has_its_layers_in_order() -> None:
    layers = mlp(3, 8, 4, bias=False, slope=0.1, eps=1e-3, dropout=0.3)
    kinds = [nn.Linear, Norm, SharedDropout]
    assert all(isinstance(layer, kind) for layer, kind in zip(layers, 2 * kinds, strict=True))
    assert [tuple(layer.weight.shape) for layer in layers if isinstance(layer, nn.Linear)] == [(8, 3), (4, 8)]
    assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Linear))
    assert {(layer.eps, layer.slope) for layer in layers if isinstance(layer, Norm)} == {(1e-3, 0.1)}
    assert len(mlp(3, 8)) == 2
    assert mlp(3, 8)(torch.randn(2, 5, 3)).shape == (2, 5, 8)
