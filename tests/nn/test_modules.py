"""A block behaves like a module of modules, however its parts are fused."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from csgnn_dgl.graphs import ConcentricLevel, PoolingLevel
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, NormReLU, RadialConv, SpherePool
from csgnn_dgl.nn.ops import block as ops
from csgnn_dgl.nn.pool import overall_max
from tests.forms import FORMS
from tests.tolerances import TOLERANCE

LEVEL = ConcentricLevel(1, 3)
PARTS = ["intra.0", "intra.1", "intra_norms.0", "radial.0", "radial_norms.1"]


def make_block(**options: Any) -> Any:
    torch.manual_seed(1)
    return ConcentricBlock(4, [4, 4], [6, 6], **options)


def make_features(channels: int = 4) -> Tensor:
    return torch.randn(3, 42, 2, channels, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", ["forward_pre", "forward", "full_backward_pre", "full_backward"])
def test_hooks_of_the_parts_are_called(part: str, kind: str) -> None:
    block, calls = make_block(), []
    register = getattr(block.get_submodule(part), f"register_{kind}_hook")
    handle = register(lambda *arguments: calls.append(kind))
    block(LEVEL, make_features().requires_grad_()).sum().backward()
    handle.remove()
    block(LEVEL, make_features().requires_grad_()).sum().backward()
    assert calls == [kind]


def test_hooks_of_all_modules_are_called() -> None:
    block, names = make_block(), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *rest: names.append(type(module).__name__))
    block(LEVEL, make_features())
    handle.remove()
    assert sorted(names) == ["ConcentricBlock", *["IntraSphereConv"] * 2, *["NormReLU"] * 4, *["RadialConv"] * 2]


@pytest.mark.parametrize("form", FORMS)
def test_a_hook_changes_nothing_but_what_it_returns(form: Any) -> None:
    block = make_block(form=form)
    other = copy.deepcopy(block)
    other.radial[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    weight: Any = block.radial[0].weight
    bias: Any = block.radial[0].bias
    with torch.no_grad():
        weight.mul_(2), bias.mul_(2)
    torch.testing.assert_close(other(LEVEL, make_features()), block(LEVEL, make_features()), **TOLERANCE[torch.float32])


@pytest.mark.parametrize("part", ["intra.1", "radial.0"])
def test_pruned_and_parametrised_weights_are_those_that_are_used(part: str) -> None:
    class Halved(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    for change in (
        lambda conv: prune.random_unstructured(conv, "weight", 0.5),
        lambda conv: parametrize.register_parametrization(conv, "weight", Halved()),
    ):
        block, plain = make_block(), make_block()
        change(block.get_submodule(part))
        with torch.no_grad():
            plain.get_submodule(part).weight.copy_(block.get_submodule(part).weight)
        got, wanted = block(LEVEL, make_features()), plain(LEVEL, make_features())
        torch.testing.assert_close(got, wanted, **TOLERANCE[torch.float32])
        got.square().sum().backward()
        assert all(value.grad is not None for value in block.parameters())


def test_a_forward_of_its_own_is_obeyed() -> None:
    class Negative(RadialConv):
        def forward(self, graph: Any, features: Tensor) -> Tensor:
            return -super().forward(graph, features)

    class Plain(NormReLU):
        def forward(self, features: Tensor) -> Tensor:
            return features

    block = make_block(make_radial=Negative)
    assert (
        block.radial[0](LEVEL, make_features()) == -RadialConv.forward(block.radial[0], LEVEL, make_features())
    ).all()
    block.radial_norms[1] = Plain(6)
    inner = torch.zeros(0)

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal inner
        inner = output

    block.radial[1].register_forward_hook(keep)
    assert torch.equal(block(LEVEL, make_features()), inner)
    patched = make_block()
    patched.intra[0].forward = lambda level, features: torch.zeros_like(features)
    assert patched(LEVEL, make_features()).isfinite().all() and "forward" in vars(patched.intra[0])
    assert not torch.equal(patched(LEVEL, make_features()), make_block()(LEVEL, make_features()))


def test_one_layer_without_a_kernel_falls_back_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, fused = [], ops.block

    def count(features: Tensor, layers: Any) -> Any:
        lengths.append(len(layers))
        return fused(features, layers)

    block = make_block()
    wanted = block(LEVEL, make_features())
    monkeypatch.setattr("csgnn_dgl.nn.block.block", count)
    block.radial[0].form = "fast"
    got = block(LEVEL, make_features())
    torch.testing.assert_close(got, wanted, **TOLERANCE[torch.float32])
    assert lengths in ([2, 1], [])  # without a compiler nothing is fused


def test_convolutions_with_other_weights_are_handed_in() -> None:
    class PerSphere(nn.Module):
        """A radial convolution of the sphere itself, with weights for each sphere."""

        def __init__(self, inner: int, outer: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, inner, outer))

        def forward(self, level: ConcentricLevel, features: Tensor) -> Tensor:
            return torch.einsum("rvbc,rcf->rvbf", features, self.weight)

    block = ConcentricBlock(4, [4, 8], [6], make_radial=PerSphere)
    assert isinstance(block.radial[0], PerSphere) and isinstance(block.intra[0], IntraSphereConv)
    block(LEVEL, make_features()).square().sum().backward()
    assert all(value.grad is not None for value in block.parameters())
    block = ConcentricBlock(4, [4, 8], [6], make_intra=PerSphere).eval()
    features = make_features()
    first = block.intra_norms[0](block.intra[0](LEVEL, features)) + features
    second = block.intra_norms[1](block.intra[1](LEVEL, first))
    wanted = block.radial_norms[0](block.radial[0](LEVEL, second))
    torch.testing.assert_close(block(LEVEL, features), wanted, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_precisions_stay_close_to_float32(form: Any, training: bool, kept: torch.dtype) -> None:
    if (form == "compiled" and kept != torch.float64) or (form == "reference" and kept == torch.float16):
        with pytest.raises(ValueError, match=r"both float32 or both float64|no float16 on the CPU"):
            make_block(form=form).to(kept)(LEVEL, make_features().to(kept))
        return
    block, step = make_block(form=form).train(training), PoolingLevel(1, 3)
    other = copy.deepcopy(block).to(kept)

    def run(module: nn.Module, features: Tensor) -> list[Tensor]:
        features = features.clone().requires_grad_()
        result = SpherePool("mean", form)(step, module(LEVEL, features))
        result.float().square().sum().backward()
        assert result.dtype == features.dtype and features.grad is not None
        return [result.detach().double(), features.grad.double()]

    tolerance = TOLERANCE[torch.float32 if kept == torch.float64 else torch.bfloat16]
    for got, wanted in zip(run(other, make_features().to(kept)), run(block, make_features()), strict=True):
        # The norm of the difference: a ReLU may let another number through where rounding decides.
        assert float((got - wanted).norm() / wanted.norm()) < 2 * tolerance["rtol"]


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_without_samples_has_features_without_samples(form: Any) -> None:
    if form == "compiled":
        with pytest.raises(ValueError, match="that are not empty"):
            make_block(form=form)(LEVEL, torch.zeros(3, 42, 0, 4))
        return
    block = make_block(form=form).eval()
    features = torch.zeros(3, 42, 0, 4, requires_grad=True)
    result = block(LEVEL, features)
    pooled = SpherePool("max", form)(PoolingLevel(1, 3), result)
    assert result.shape == (3, 42, 0, 6) and pooled.shape == (3, 12, 0, 6)
    assert overall_max(pooled, form).shape == (0, 6)
    pooled.sum().backward()
    assert features.grad is not None and features.grad.shape == features.shape
    with pytest.raises(ValueError, match="more than one observation"):
        block.train()(LEVEL, features)


@pytest.mark.parametrize("form", FORMS)
def test_the_overall_maximum_obeys_the_form(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    features = make_features().requires_grad_()
    seed = torch.randn(2, 4)
    maximum = overall_max(features, form)
    maximum.backward(seed)
    assert torch.equal(maximum, features.amax(dim=(0, 1)))
    assert features.grad is not None
    assert torch.equal(features.grad.sum((0, 1)), seed)
    assert torch.equal(features.grad != 0, features == maximum)
    if form in ("reference", "fast"):
        monkeypatch.setattr("csgnn_dgl.nn.ops.library.overall_max", None)
        overall_max(features, form).sum().backward()
    with pytest.raises(ValueError, match=r"\(R, V, B, C\) expected"):
        overall_max(features.flatten(0, 1), form)
