"""What the tests of ShellNet and RIConv share."""

from typing import Any

import torch
from torch import Tensor

from tests.forms import FORMS
from tests.tolerances import TOLERANCE, assert_same_up_to_scale


def small(kind: Any, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """A small model in evaluation mode with the running averages of some clouds."""
    torch.manual_seed(1)
    model = kind(**{"num_classes": 5, **kind.tiny, **changes}).to(dtype).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 64, 3, dtype=torch.float64).to(dtype))
    return model.eval()


def spread(logits: Tensor) -> float:
    """By how much logits differ between clouds."""
    return float(logits.std(dim=0).max())


def assert_forms_agree(kind: Any, dtype: torch.dtype) -> None:
    """Compare losses, logits and all gradients, the points' among them."""
    points, labels = torch.randn(3, 64, 3, dtype=dtype), torch.tensor([3, 0, 1])
    found = []
    for form in FORMS:
        model = small(kind, dtype, form=form).train()
        torch.manual_seed(5)  # of dropout
        x = points.clone().requires_grad_()
        loss, logits = model.loss(x, labels)
        loss.backward()
        found.append([loss.detach(), logits.detach(), x.grad, *(p.grad for p in model.parameters())])
    for other in found[1:]:
        for one, another in zip(found[0], other, strict=True):
            assert_same_up_to_scale(another, one)


def assert_order_does_not_matter(kind: Any, dtype: torch.dtype) -> None:
    """Compare the logits of clouds with those of the same points in another order."""
    model, points = small(kind, dtype), torch.randn(4, 64, 3, dtype=dtype)
    torch.testing.assert_close(model(points[:, torch.randperm(64)]), model(points), **TOLERANCE[dtype])
