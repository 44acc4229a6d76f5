"""Convolutions of bfloat16 features: right with both kinds of products, and made with the one that was faster."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from csgnn_dgl.errors import InputError
from csgnn_dgl.graphs import ConcentricLevel
from csgnn_dgl.nn import ConcentricBlock
from csgnn_dgl.nn.ops import build, library, twins
from tests.tolerances import TOLERANCE

pytestmark = pytest.mark.skipif(not library.available(torch.bfloat16), reason="there are no kernels here")

WIDTHS = [(2, 5), (9, 16), (16, 9), (32, 64), (65, 33)]


def calls(num_spheres: int, inner: int, outer: int) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Each convolution with all that it can do, and its arguments, which have few enough bits for bfloat16."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape).bfloat16().double()

    level = ConcentricLevel(1, num_spheres).relation("cpu")
    features, gradient = draw(num_spheres, 42, 3, inner), draw(num_spheres, 42, 3, outer)
    weight = draw(3, inner, outer)
    line, read = library.Line(draw(outer), draw(outer)), library.Line(draw(inner), draw(inner))
    before = library.Norm(features, draw(inner), draw(inner), draw(inner))
    slopes = library.NormGradient(*(draw(outer) for _ in range(5)))
    after = {"bias": draw(outer), "moments": True, "norm": line}
    forth = {"sources": level.sources, "offsets": level.offsets}
    back = {"targets": level.targets, "offsets": level.reverse_offsets, "residual": draw(*features.shape)}
    made = {"features": None, "before": before}
    intra = {"features": features, "weight": weight[0]}
    return {
        "intra_forward": (library.intra_forward, {**intra, **forth, **after}),
        "intra_backward": (library.intra_backward, {"gradient": gradient, **intra, **back, **made}),
        "radial_forward": (library.radial_forward, {"features": features, "weight": weight, "line": read, **after}),
        "radial_backward": (
            library.radial_backward,
            {"gradient": gradient, "weight": weight, "result": draw(*gradient.shape), "norm": slopes, **made},
        ),
    }


def stored(name: str, value: Any) -> Any:
    """An argument as features of bfloat16 and parameters of float32."""
    if isinstance(value, Tensor) and value.is_floating_point():
        whole = name in ("features", "gradient", "residual", "result", "input")
        return value.to(torch.bfloat16 if whole else torch.float32)
    if isinstance(value, tuple):
        return type(value)(*(stored(field, part) for field, part in value._asdict().items()))  # type: ignore[attr-defined]
    return value


@pytest.mark.parametrize("num_spheres", [1, 3])
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("products", twins.PRODUCTS)
@pytest.mark.parametrize("kernel", twins.KERNELS)
def test_each_convolution_with_both_products(
    kernel: str, products: str, widths: tuple[int, int], num_spheres: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, exact = calls(num_spheres, *widths)[kernel]
    monkeypatch.setenv(twins.VARIABLE, products)
    found = function(**{name: stored(name, value) for name, value in exact.items()})
    for got, wanted in zip(found, function(**exact), strict=True):
        scale = wanted.abs().amax(dim=tuple(range(1, wanted.dim())) if len(wanted) == 2 else None, keepdim=True)
        torch.testing.assert_close(got.double() / scale, wanted / scale, **TOLERANCE[torch.bfloat16])


def test_both_products_are_really_made(monkeypatch: pytest.MonkeyPatch) -> None:
    function, exact = calls(2, 16, 16)["radial_backward"]
    given = {name: stored(name, value) for name, value in exact.items()}
    weights = []
    for products in twins.PRODUCTS:
        monkeypatch.setenv(twins.VARIABLE, products)
        weights.append(function(**given).weight)
    assert not torch.equal(*weights)


@pytest.mark.parametrize("products", twins.PRODUCTS)
def test_second_gradients_under_autocast_are_those_of_torch(products: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(twins.VARIABLE, products)
    level, block = ConcentricLevel(1, 3), ConcentricBlock(4, [8], [8]).eval()
    x = torch.randn(3, 42, 2, 4)
    found = []
    for form in ("compiled", "fast"):
        block.intra[0].form = block.radial[0].form = form  # type: ignore[assignment]
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            result = block(level, given).float().square().sum()
        (gradient,) = torch.autograd.grad(result, given, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), given)
        found.append((gradient.detach(), second))
    for got, wanted in zip(*found, strict=True):
        difference = (got - wanted).norm() / wanted.norm()
        assert difference < TOLERANCE[torch.bfloat16]["rtol"]


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where times are kept beside libraries that are there, and nothing was measured; times are asked for anew."""
    monkeypatch.delenv(twins.VARIABLE, raising=False)
    monkeypatch.setattr(build, "libraries", lambda units: {unit: tmp_path / f"{unit}-0.so" for unit in units})
    twins.times.cache_clear()
    yield tmp_path / "bfloat16_twins-0.json"
    twins.times.cache_clear()


def measured(faster: str) -> twins.Times:
    seconds = {product: 1.0 if product == faster else 2.0 for product in twins.PRODUCTS}
    return {twins._name(kernel, wide): dict(seconds) for kernel in twins.KERNELS for wide in (False, True)}


def unit(kernel: str = "radial_forward", channels: int = 16) -> str:
    return twins.unit_for(kernel, channels, 1, library._convolutions)[0]


def test_the_products_that_were_faster_are_made(new: Path) -> None:
    times = measured("bfloat16")
    times["radial_forward wide"]["float32"] = 0.5
    times["intra_forward narrow"]["float32"] = 1.1  # nearly as fast, and rounded less
    new.write_text(json.dumps(times))
    assert [unit(channels=channels) for channels in (16, 31, 32, 64)] == [
        "bfloat16_twins",
        "bfloat16_twins",
        "bfloat16",
        "bfloat16",
    ]
    assert unit("intra_backward", 64) == "bfloat16_twins" and unit("intra_forward", 16) == "bfloat16"


def test_what_is_kept_is_measured_once_and_draws_no_random_numbers(new: Path) -> None:
    state = torch.get_rng_state()
    unit()
    kept = json.loads(new.read_text())
    assert kept.keys() == measured("float32").keys()
    assert all(value > 0 for seconds in kept.values() for value in seconds.values())
    assert torch.equal(state, torch.get_rng_state())
    twins.times.cache_clear()
    assert library.product_times() == kept


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '"x"', "writable", "infinite"])
def test_times_that_cannot_be_trusted_are_measured_again(new: Path, damage: str) -> None:
    times: Any = measured("bfloat16")
    if damage == "infinite":
        times["intra_forward wide"]["float32"] = float("inf")
    new.write_text(damage if damage not in ("writable", "infinite") else json.dumps(times))
    if damage == "writable":
        new.chmod(0o666)
    found = library.product_times()
    assert found.keys() == times.keys() and found["intra_forward wide"]["bfloat16"] < 1.0
    assert json.loads(new.read_text()) == found


def test_the_choice_by_hand_must_be_one_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(twins.VARIABLE, "fp8")
    with pytest.raises(InputError, match="CSGNN_BFLOAT16_PRODUCTS is 'fp8'; give float32 or bfloat16"):
        unit()
