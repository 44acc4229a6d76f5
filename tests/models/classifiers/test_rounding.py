"""How far rounding takes the float32 forms from float64, at initialisation.

Between the forms there are 1e-4 in the logits and 6e-3 in the gradients of this network, and more in larger ones. No
formula differs: in float64 they agree to rounding. Nor does the network amplify rounding: inputs that are off by half a
unit in the last place of float32 move both by 2e-6. It is torch's batch norm on CPUs, which adds the observations of a
channel one by one in float32; with its sums in float64 the torch forms are as close as the compiled one, 1e-5. In the
gradients a single maximum that picks the other of two nearly equal observations shows beside that.
"""

from typing import Any

import pytest
import torch
from torch.nn import functional

from csgnn_dgl.models import CSGNN
from tests.forms import FORMS
from tests.tolerances import TOLERANCE

CLOSE, FAR = (3e-5, 1e-2), (5e-4, 3e-2)
"""Largest relative errors of logits and gradients: with careful sums, and with those of torch's batch norm."""


def answer(form, dtype, shift=0.0):
    """Logits and all gradients of one training step, in float64."""
    torch.manual_seed(1)
    points = torch.randn(8, 256, 3)
    points = (points / points.norm(dim=-1).amax(dim=1)[:, None, None]).to(dtype) * (1 + shift)
    sizes: Any = {"level": 2, "num_spheres": 4, "channels": 4, "base_width": 4, "num_points": 256, "num_classes": 4}
    model = CSGNN(**sizes, dropout=0.0, form=form).to(dtype).train()
    logits = model(points)
    functional.cross_entropy(logits, torch.arange(8) % 4).backward()
    gradients = [own.grad.flatten().double() for own in model.parameters() if own.grad is not None]
    return logits.detach().double(), torch.cat(gradients)


def errors(found, wanted):
    return [float((one - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True)]


@pytest.fixture(scope="module")
def exact():
    """What the first form says in float64."""
    return answer(FORMS[0], torch.float64)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_agree_in_float64(form, exact):
    for found, wanted in zip(answer(form, torch.float64), exact, strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("form", FORMS)
def test_float32_is_as_far_as_the_sums_of_its_batch_norms(form, exact, monkeypatch):
    bound = FAR if form in ("reference", "fast") or "compiled" not in FORMS else CLOSE
    assert all(error < limit for error, limit in zip(errors(answer(form, torch.float32), exact), bound, strict=True))
    plain: Any = functional.batch_norm

    def careful(rows, mean, variance, weight, bias, *rest):
        given = [None if item is None else item.double() for item in (mean, variance, weight, bias)]
        return plain(rows.double(), *given, *rest).to(rows.dtype)

    monkeypatch.setattr(functional, "batch_norm", careful)
    assert all(error < limit for error, limit in zip(errors(answer(form, torch.float32), exact), CLOSE, strict=True))
