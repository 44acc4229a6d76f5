"""The compiled kernels: safe to call, and the same bits at every run."""

import ctypes
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from csgnn_dgl.graphs import ConcentricLevel, PoolingLevel
from csgnn_dgl.nn import ConcentricBlock, NormReLU, SpherePool
from csgnn_dgl.nn.forms import Form, fit
from csgnn_dgl.nn.ops import build, library, twins
from csgnn_dgl.nn.ops.arguments import ARGUMENTS
from tests.tolerances import ROUNDED, TOLERANCE, times

needs_compiler = pytest.mark.skipif(not library.available(), reason="no g++ here, or CSGNN_KERNELS=off")


def declared(kernel: str) -> list[tuple[str, str]]:
    """Name and type of the fields of a kernel's structure, as ``arguments.h`` has them; all pointers are ``*``."""
    struct = "".join(word.title() for word in kernel.split("_"))
    text = (build.SOURCES / "arguments.h").read_text()
    body = re.sub("//.*", "", re.search(rf"struct {struct} {{(.*?)}};", text, re.DOTALL)[1])  # type: ignore[index]
    fields = []
    for line in filter(None, (part.strip() for part in body.split(";"))):
        kind, names = re.fullmatch(r"(?:const )?(\w+)([ *].*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        fields += [(name.strip(" *"), "*" if "*" in name else kind) for name in names.split(",")]
    return fields


@needs_compiler
@pytest.mark.parametrize("kernel", ARGUMENTS)
def test_python_and_cpp_agree_on_the_arguments(kernel: str) -> None:
    fields = declared(kernel)
    kinds = {ctypes.c_int64: "int64_t", ctypes.c_bool: "bool"}
    wanted = [(name, kinds.get(kind, "*")) for name, kind in ARGUMENTS[kernel]._fields_]  # type: ignore[misc]
    assert fields == wanted
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for unit, compiled in (library._libraries(dtype) or {}).items():
            if not unit.endswith("twins") or kernel in twins.KERNELS:
                assert getattr(compiled, f"{kernel}_{unit}_bytes")() == ctypes.sizeof(ARGUMENTS[kernel])


def example(kernel: str, dtype: torch.dtype = torch.float32, batch: int = 2) -> dict[str, Any]:
    """Valid arguments of a kernel that use all that it offers: 3 spheres of 4 vertices in a ring, 5 channels."""
    computed = library.computed(dtype)
    nodes, channels = torch.arange(12, dtype=torch.int32), torch.ones(5, dtype=computed)
    ring = torch.stack([nodes, nodes // 4 * 4 + (nodes + 1) % 4], dim=1).flatten().to(torch.int32)
    offsets = torch.arange(0, 25, 2, dtype=torch.int32)
    features = torch.randn(3, 4, batch, 5, dtype=dtype)
    line, norm = library.Line(channels, channels), library.Norm(features, channels, channels, channels)
    slopes = library.NormGradient(*[channels] * 5)
    weight = torch.randn(3, 5, 5, dtype=computed)
    rows = features.flatten(0, 1).flatten(1)
    edges = {"sources": ring, "offsets": offsets}
    after = {"bias": channels, "moments": True, "norm": line}
    winners = torch.zeros(rows.shape, dtype=torch.uint8)
    examples: dict[str, dict[str, Any]] = {
        "intra_forward": {"features": features, "weight": weight[0], **edges, **after, "residual": True},
        "radial_forward": {"features": features, "weight": weight, "line": line, **after},
        "intra_backward": {
            "gradient": features,
            "features": features,
            "weight": weight[0],
            "targets": ring,
            "offsets": offsets,
            "residual": features,
            "before": norm,
        },
        "radial_backward": {
            "gradient": features,
            "features": None,
            "weight": weight,
            "result": features,
            "norm": slopes,
            "before": norm,
        },
        "norm_forward": {"y": features, "line": line, "residual": features, "out": torch.empty_like(features)},
        "norm_sums": {"gradient": features, "norm": norm},
        "norm_backward": {"gradient": features, "y": features, "norm": slopes},
        "max_forward": {"features": rows, **edges},
        "max_backward": {
            "gradient": rows,
            "winners": winners,
            "targets": ring,
            "places": torch.zeros(24, dtype=torch.uint8),
            "offsets": offsets,
        },
        "overall_max": {"features": rows},
        "smallest": {"features": torch.randn(5 * batch, 12).to(dtype), "count": 3},
    }
    return examples[kernel]


FREE_LENGTHS = {
    ("radial_forward", "features"),
    ("max_forward", "offsets"),
    ("max_backward", "offsets"),
    ("overall_max", "features"),
    ("smallest", "features"),
}


def spoilt(tensor: Tensor) -> Iterator[Tensor]:
    """Tensors that no kernel may touch in the place of this one."""
    yield tensor.to("meta")
    yield FakeTensorMode().from_tensor(tensor)
    yield tensor.to(torch.float16)
    yield tensor.to_sparse()
    yield torch.stack([tensor, tensor], dim=-1)[..., 0]  # not contiguous
    yield torch._to_functional_tensor(tensor)
    yield tensor[None]
    yield tensor.sum().to(tensor.dtype)
    if tensor.is_floating_point():
        yield torch._neg_view(tensor)
        yield torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype)


@needs_compiler
@pytest.mark.parametrize("kernel", ARGUMENTS)
def test_a_kernel_refuses_tensors_that_it_cannot_read(kernel: str) -> None:
    function, valid = getattr(library, kernel), example(kernel)
    function(**valid)
    for name, value in valid.items():
        parts = value if isinstance(value, tuple) else (value,)
        for place, part in enumerate(parts):
            if not isinstance(part, Tensor):
                continue
            for wrong in (*spoilt(part), *(() if (kernel, name) in FREE_LENGTHS else (part[:-1],))):
                changed = [*parts[:place], wrong, *parts[place + 1 :]]
                given = type(value)(*changed) if isinstance(value, tuple) else wrong
                with pytest.raises(ValueError, match=kernel):
                    function(**valid | {name: given})


@needs_compiler
@pytest.mark.parametrize("kernel", ["intra_forward", "intra_backward", "max_forward", "max_backward"])
def test_edges_that_lead_nowhere_are_refused(kernel: str) -> None:
    function, valid = getattr(library, kernel), example(kernel)
    name = "sources" if "sources" in valid else "targets"
    for field, place, value in (
        (name, 3, 12),
        (name, 5, -1),
        ("offsets", 4, 25),
        ("offsets", 0, -1),
        ("offsets", 6, 9),
    ):
        wrong = valid[field].clone()
        wrong[place] = value
        with pytest.raises(ValueError, match="edges must name nodes that exist"):
            function(**valid | {field: wrong})


@needs_compiler
def test_a_maximum_of_none_or_too_many_is_refused() -> None:
    rows = torch.randn(300, 2)
    every = torch.arange(300, dtype=torch.int32)
    for offsets in ([0, 257], [0, 0, 4]):
        with pytest.raises(ValueError, match="1 to 256"):
            library.max_forward(rows, every, torch.tensor(offsets, dtype=torch.int32))
    places = library.max_forward(rows, every, torch.tensor([0, 256], dtype=torch.int32))[1]
    assert places is not None and torch.equal(places[0].long(), rows[:256].argmax(dim=0))


@needs_compiler
@pytest.mark.parametrize("kernel", ARGUMENTS)
def test_kernels_take_empty_batches(kernel: str, dtype: torch.dtype) -> None:
    results = getattr(library, kernel)(**example(kernel, dtype, batch=0))
    for result in results if isinstance(results, tuple) else (results,):
        assert result.isnan().all() or not result.any()  # the moments of nothing, or zeros


def test_kernels_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSGNN_KERNELS", "off")
    assert not library.available()
    assert not fit(torch.zeros(1))


@needs_compiler
def test_only_what_the_kernels_can_take_is_given_to_them() -> None:
    single, double = torch.zeros(2), torch.zeros(2, dtype=torch.float64)
    assert fit(single, single) and fit(double)
    assert not fit(torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16))
    assert not fit(single, double)
    assert not fit(torch.zeros(2, dtype=torch.float16))
    assert not fit(torch.zeros(0))
    assert not fit(torch.zeros(2, device="meta"))


@needs_compiler
@pytest.mark.parametrize("num_spheres", [1, 2, 3, 8])
@pytest.mark.parametrize(("inner", "outer"), [(2, 40), (33, 5), (35, 37), (64, 32)])
@pytest.mark.parametrize("norm", [False, True])
def test_radial_convolutions_of_all_widths(
    num_spheres: int, inner: int, outer: int, norm: bool, dtype: torch.dtype
) -> None:
    level = ConcentricLevel(0, num_spheres)
    block = ConcentricBlock(inner, [], [outer]).to(dtype)
    layer: Any = block if norm else block.radial[0]
    seed = torch.randn(num_spheres, 12, 3, outer, dtype=dtype)
    features, outcomes = torch.randn(num_spheres, 12, 3, inner, dtype=dtype), []
    for form in ("fast", "compiled"):
        block.radial[0].form = form  # type: ignore[assignment]
        x = features.clone().requires_grad_()
        block.zero_grad()
        result = layer(level, x)
        result.backward(seed)
        weight = block.radial[0].weight.grad
        assert isinstance(weight, torch.Tensor)
        outcomes.append((result.detach(), x.grad, weight.clone()))
    for got, wanted in zip(outcomes[1], outcomes[0], strict=True):
        assert got is not None and wanted is not None
        torch.testing.assert_close(got / wanted.abs().max(), wanted / wanted.abs().max(), **TOLERANCE[dtype])


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_threads_give_the_same_bits(threads: int) -> None:
    level, features = ConcentricLevel(2, 3), torch.randn(3, 162, 5, 8)
    block = ConcentricBlock(8, [16, 16], [24, 24], form="compiled")
    before = torch.get_num_threads()

    def once() -> list[torch.Tensor]:
        block.zero_grad()
        result = block(level, features)
        result.square().sum().backward()
        return [result.detach(), *(p.grad.clone() for p in block.parameters() if p.grad is not None)]

    wanted = once()
    try:
        torch.set_num_threads(threads)
        first, second = once(), once()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.testing.assert_close(first[0], wanted[0], **TOLERANCE[torch.float32])


@needs_compiler
@pytest.mark.parametrize("products", twins.PRODUCTS)
@pytest.mark.parametrize("training", [True, False])
def test_autocast_stores_two_bytes_and_stays_close_to_float32(
    training: bool, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(twins.VARIABLE, products)
    level, pool, step = ConcentricLevel(2, 3), SpherePool("max"), PoolingLevel(2, 3)

    def run_once(block: ConcentricBlock, features: torch.Tensor, enabled: bool, form: Form) -> list[torch.Tensor]:
        for layer in [*block.intra, *block.radial, pool]:
            layer.form = form
        block.zero_grad()
        x = features.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            result = pool(step, block(level, x))
        assert result.dtype == (torch.bfloat16 if enabled else torch.float32)
        result.float().backward(torch.ones_like(result, dtype=torch.float32))
        # In training the bias before a norm has no gradient but rounding.
        named = [(name, p.grad) for name, p in block.named_parameters() if "norms" in name or ".weight" in name]
        assert all(gradient is not None and gradient.dtype == torch.float32 for _, gradient in named)
        return [result.detach().float(), x.grad, *(gradient for _, gradient in named)]

    # A maximum or a ReLU may fall otherwise after rounding; torch's own bfloat16 shows by how much that counts.
    errors = []
    for _ in range(8):
        block, features = ConcentricBlock(9, [16, 16], [19, 24]).train(training), torch.randn(3, 162, 5, 9)
        exact = run_once(block, features, False, "fast")
        both = [run_once(block, features, True, "compiled"), run_once(block, features, True, "fast")]
        errors.append(
            [[float((got - want).square().sum()) for got, want in zip(one, exact, strict=True)] for one in both]
        )
    ours, of_torch = torch.tensor(errors).sum(dim=0).sqrt()
    assert (ours > 1e-5).all() and (ours < 1.25 * of_torch).all()


@needs_compiler
def test_nothing_that_is_not_a_number_is_lost() -> None:
    level, features = ConcentricLevel(1, 2), torch.randn(2, 42, 2, 4)
    features[1, 7, 1, 2] = torch.nan
    block = ConcentricBlock(4, [4], [4], form="compiled")
    assert block(level, features).isnan().all()  # in training through the moments
    result = ConcentricBlock(4, [4], [4], form="compiled").eval()(level, features)
    assert result[:, 7, 1].isnan().all() and not result[:, :, 0].isnan().any()
    pooled = SpherePool("max", "compiled")(PoolingLevel(1, 2), features)
    assert pooled.isnan().any() and not pooled[0].isnan().any()


@needs_compiler
def test_moments_keep_their_digits_far_from_zero() -> None:
    level = ConcentricLevel(1, 3)
    block = ConcentricBlock(2, [3], [], form="compiled")
    conv: Any = block.intra[0]
    with torch.no_grad():
        conv.bias.add_(1e3)
    features = torch.randn(3, 42, 4, 2)
    got = block(level, features)
    norm = NormReLU(3)
    wanted = norm(conv.double()(level, features.double()).float() - 1e3)
    torch.testing.assert_close(got, wanted, **times(ROUNDED, 1e3))
    torch.testing.assert_close(block.intra_norms[0].running_var, norm.running_var, **TOLERANCE[torch.float32])


@needs_compiler
def test_a_norm_without_anything_to_normalise_is_refused() -> None:
    norm = NormReLU(2)
    with pytest.raises(ValueError, match="needs more than one observation"):
        norm(torch.zeros(1, 2))
