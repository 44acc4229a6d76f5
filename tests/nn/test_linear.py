"""The linear layer for few channels gives what torch's gives, and the same gradients."""

import pytest
import torch

from csgnn_dgl.nn.linear import Linear
from tests.tolerances import TOLERANCE


@pytest.mark.parametrize("channels", [1, 3, 15, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_numbers_and_gradients_are_those_of_torch(channels: int, bias: bool, dtype: torch.dtype) -> None:
    ours, theirs = (kind(channels, 5, bias, dtype=dtype) for kind in (Linear, torch.nn.Linear))
    theirs.load_state_dict(ours.state_dict())
    found = []
    for layer in (ours, theirs):
        features = torch.arange(24 * channels, dtype=dtype).sin().view(2, 3, 4, channels).requires_grad_()
        result = layer(features)
        result.square().sum().backward()
        found.append([result.detach(), features.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE[dtype])


@pytest.mark.parametrize("channels", [3, 20])
def test_features_of_another_width_are_refused(channels: int) -> None:
    with pytest.raises(RuntimeError):
        Linear(channels, 5)(torch.zeros(2, channels, 4))
    with pytest.raises(RuntimeError):
        Linear(channels, 5)(torch.zeros(channels, 2))
