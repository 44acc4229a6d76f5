"""Levels that are computed a second time in the backward pass: the same bits as without."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.models import CSGNN
from csgnn_dgl.nn import ConcentricBlock, NormReLU
from tests.forms import FORMS

SMALL: dict[str, Any] = {"level": 2, "num_spheres": 3, "channels": 2, "num_classes": 5, "base_width": 1}


def train(model: CSGNN, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Two optimiser steps; logits, gradients and whatever the model keeps after them."""
    torch.manual_seed(4)  # of dropout
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    found = {}
    for step in range(2):
        optimizer.zero_grad()
        logits = model(points)
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
        found[f"logits {step}"] = logits.detach()
        found |= {
            f"gradient {step} {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
        }
    return {**found, **model.state_dict()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_the_bits_are_those_without(form: Any, pooling: Any, dtype: torch.dtype) -> None:
    model = CSGNN(**SMALL, form=form, pooling=pooling, num_points=64).to(dtype)
    twin = CSGNN(**SMALL, form=form, pooling=pooling, num_points=64, recompute=True).to(dtype)
    twin.load_state_dict(model.state_dict())
    points, labels = torch.randn(4, 64, 3, dtype=dtype), torch.arange(4)
    wanted, found = train(model, points, labels), train(twin, points, labels)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert {int(norm.num_batches_tracked) for norm in twin.modules() if isinstance(norm, NormReLU)} == {2}
    with torch.no_grad():
        assert torch.equal(model.eval()(points), twin.eval()(points))


def test_under_autocast_the_bits_are_those_without() -> None:
    model = CSGNN(**SMALL, num_points=64)
    twin = copy.deepcopy(model)
    twin.encoder.recompute = True
    points, labels = torch.randn(4, 64, 3), torch.arange(4)
    with torch.autocast("cpu", torch.bfloat16):
        wanted, found = train(model, points, labels), train(twin, points, labels)
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []


def test_each_level_is_computed_twice_only_where_there_is_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    forward = ConcentricBlock.forward

    def counted(self: ConcentricBlock, graph: Any, features: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return forward(self, graph, features)

    monkeypatch.setattr(ConcentricBlock, "forward", counted)
    model = CSGNN(**SMALL, num_points=64, recompute=True)
    points = torch.randn(2, 64, 3)
    model(points).sum().backward()
    assert calls == 2 * 3
    with torch.no_grad():
        model(points)
    assert calls == 3 * 3


def test_what_is_kept_for_the_gradient_is_less() -> None:
    kept = {}
    for recompute in (False, True):
        model = CSGNN(**SMALL, num_points=64, recompute=recompute)
        sizes: dict[int, int] = {}

        def keep(tensor: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(torch.randn(8, 64, 3))
        parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept[recompute] = sum(size for place, size in sizes.items() if place not in parameters)
    assert kept[True] < 0.5 * kept[False]
