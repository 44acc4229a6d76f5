"""A linear layer with norm and maximum in one against the three one after the other."""

import copy

import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn import Norm, PooledLinear, without_observing
from tests.tolerances import TOLERANCE, assert_same_up_to_scale


def layer(dtype: torch.dtype = torch.float64, slope: float = 0.0) -> PooledLinear:
    """A layer whose norm has scales of either sign, and running averages that are not those of a fresh one."""
    torch.manual_seed(1)
    made = PooledLinear(4, 9, eps=1e-3, slope=slope).to(dtype)
    with torch.no_grad():
        made.norm.weight.normal_(), made.norm.bias.normal_()
    made.norm.running_mean.normal_(0, 0.1), made.norm.running_var.uniform_(0.5, 1.5)
    assert (made.norm.weight < 0).any() and (made.norm.weight > 0).any()
    return made


def one_after_the_other(made: PooledLinear, features: Tensor) -> Tensor:
    norm = Norm(9, eps=1e-3, slope=made.norm.slope).to(features.dtype).train(made.training)
    norm.weight, norm.bias = made.norm.weight, made.norm.bias
    norm.running_mean, norm.running_var = made.norm.running_mean, made.norm.running_var
    return norm(made.linear(features)).amax(dim=1)


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("training", [True, False])
def test_it_is_linear_norm_and_maximum(training: bool, slope: float, dtype: torch.dtype) -> None:
    features, seed, outcomes = 3 * torch.randn(3, 20, 4, dtype=dtype) + 1, torch.randn(3, 9, dtype=dtype), []
    for function in (one_after_the_other, PooledLinear.__call__):
        made, x = layer(dtype, slope).train(training), features.clone().requires_grad_()
        output = function(made, x)
        output.backward(seed)
        parameters = dict(made.named_parameters())
        if training:  # a bias before a norm has no gradient but rounding
            del parameters["linear.bias"]
        grads = [parameter.grad for parameter in parameters.values()]
        outcomes.append([output.detach(), x.grad, *grads, made.norm.running_mean, made.norm.running_var])
    for wanted, found in zip(*outcomes, strict=True):
        assert wanted is not None and found is not None
        assert_same_up_to_scale(found, wanted)


def test_compiled_in_training_it_computes_the_same() -> None:
    torch.compiler.reset()
    features, one = torch.randn(3, 20, 4, dtype=torch.float64), layer()
    other = copy.deepcopy(one)
    found = torch.compile(one, backend="eager", fullgraph=True)(features)
    torch.testing.assert_close(found, other(features), **TOLERANCE[torch.float64])


def test_averages_stay_where_nothing_is_observed() -> None:
    made, before = layer(), layer().state_dict()
    with without_observing(made):
        made(torch.randn(3, 20, 4, dtype=torch.float64))
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_one_point_in_all_is_refused_in_training() -> None:
    with pytest.raises(ValueError, match="more than one observation"):
        layer()(torch.randn(1, 1, 4, dtype=torch.float64))


def test_features_in_bfloat16_are_taken() -> None:
    made, features = layer(torch.float32), torch.randn(3, 20, 4)
    wanted = made(features)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(features)
    torch.testing.assert_close(found.float(), wanted, **TOLERANCE[torch.bfloat16])
