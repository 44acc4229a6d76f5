"""Norm, activation and maximum in one, against one after the other."""

import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn import Norm, NormMax
from tests.tolerances import TOLERANCE, assert_same_up_to_scale


def pair(dtype: torch.dtype, slope: float, training: bool) -> tuple[Norm, NormMax]:
    """The two with the same weights, some scales of which are negative."""
    both = Norm(6, slope=slope, eps=1e-3), NormMax(6, slope=slope, eps=1e-3)
    for norm in both:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -0.5, 0.7, 2.0, -1.0, 0.3]))
            norm.bias.copy_(torch.linspace(-1, 1, 6))
            norm.running_mean.fill_(0.2)
        norm.to(dtype).train(training)
    return both


def outcome(norm: Norm, members: Tensor, seed: Tensor) -> list[Tensor]:
    members = members.clone().requires_grad_()
    found = norm(members) if isinstance(norm, NormMax) else norm(members).amax(dim=-2)
    (found * seed).sum().backward()
    assert members.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    return [found.detach(), members.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_it_is_the_norm_and_then_the_maximum(slope: float, training: bool, dtype: torch.dtype) -> None:
    members, seed = torch.randn(4, 5, 7, 6, dtype=dtype), torch.randn(4, 5, 6, dtype=dtype)
    members[:, 1, 3] = members[:, 1, 2] = members[:, 1].amax(dim=1)  # equal largest ones
    one, other = pair(dtype, slope, training)
    wanted, found = outcome(one, members, seed), outcome(other, members, seed)
    for own, reference in zip(found, wanted, strict=True):
        assert_same_up_to_scale(own, reference)


def test_an_average_over_batches_is_that_of_the_norm() -> None:
    one, other = pair(torch.float64, 0.0, True)
    for _ in range(3):
        members = torch.randn(3, 4, 6, dtype=torch.float64)
        one(members), other(members)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, **TOLERANCE[torch.float64])


def test_compiled_it_is_the_same() -> None:
    torch.compiler.reset()
    _, norm = pair(torch.float64, 0.2, False)
    members = torch.randn(3, 4, 6, dtype=torch.float64)
    compiled = torch.compile(norm, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(members), norm(members), **TOLERANCE[torch.float64])


def test_one_observation_is_refused() -> None:
    with pytest.raises(ValueError, match="batch norm needs more than one observation"):
        NormMax(6)(torch.randn(1, 1, 6))


def test_its_gradient_is_not_differentiated_silently() -> None:
    _, norm = pair(torch.float64, 0.0, True)
    members = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(norm(members).square().sum(), members, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()
