"""Every layer's reference and fast form against each other and against an independent dense computation."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.graphs import ConcentricLevel, PoolingLevel, concentric_heterograph, pooling_graph
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, RadialConv, SphereEdgeConv, SpherePool
from tests.forms import FORMS, HAS_DGL, forms_on
from tests.tolerances import TOLERANCE

B = 3
needs_dgl = pytest.mark.skipif(not HAS_DGL, reason="no dgl here")


def adjacency(level: int, dtype: torch.dtype) -> Tensor:
    count = icosphere(level).num_vertices
    matrix = torch.zeros(count, count, dtype=dtype)
    for i, j in icosphere(level).edges.tolist():
        matrix[i, j] = matrix[j, i] = 1
    return matrix


def results(module: nn.Module, call: Callable[[Tensor], Tensor], features: Tensor, seed: Tensor) -> dict[str, Tensor]:
    """Output, all gradients for one cotangent, and all gradients of the squares of these."""
    features, seed = features.clone().requires_grad_(), seed.clone().requires_grad_()
    module.zero_grad(set_to_none=True)
    output = call(features)
    output.backward(seed.detach(), retain_graph=True)
    named = {"features": features, **dict(module.named_parameters())}
    found = {"output": output.detach()} | {f"d {name}": value.grad for name, value in named.items()}
    first = torch.autograd.grad(output, list(named.values()), seed, create_graph=True)
    named["seed"] = seed
    squares = torch.stack([value.square().sum() for value in first]).sum()
    second = torch.autograd.grad(squares, list(named.values()), allow_unused=True)
    found |= {f"d² {name}": value for name, value in zip(named, second, strict=True) if value is not None}
    return {name: value for name, value in found.items() if value is not None}


def assert_same(got: dict[str, Tensor], wanted: dict[str, Tensor], without: str = "nothing") -> None:
    """Compare all results but those of the parameters whose names match `without`; what is missing is zero."""
    for name in sorted({*got, *wanted}):
        if re.search(without, name):
            continue
        expected = wanted[name] if name in wanted else torch.zeros_like(got[name], device="cpu")
        found = got[name].cpu() if name in got else torch.zeros_like(expected)
        scale = float(expected.abs().max()) or 1.0
        tolerance = TOLERANCE[expected.dtype]
        torch.testing.assert_close(found / scale, expected / scale, **tolerance, msg=f"{name}: {{}}".format)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("num_spheres", [1, 4])
@pytest.mark.parametrize(("inner", "outer"), [(3, 5), (5, 3), (4, 4)])
@pytest.mark.parametrize("self_loop", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_intra_sphere_convolution(
    level: int, num_spheres: int, inner: int, outer: int, self_loop: bool, bias: bool, dtype: torch.dtype, device: str
) -> None:
    graph = ConcentricLevel(level, num_spheres)
    conv = IntraSphereConv(inner, outer, self_loop, bias).to(dtype)
    matrix = adjacency(level, dtype)
    if self_loop:
        matrix += torch.eye(len(matrix), dtype=dtype)

    def dense(h: Tensor) -> Tensor:
        result = torch.einsum("uv,rvbc,cf->rubf", matrix, h, conv.weight)
        return result if conv.bias is None else result + conv.bias

    features = torch.randn(num_spheres, len(matrix), B, inner, dtype=dtype)
    seed = torch.randn(num_spheres, len(matrix), B, outer, dtype=dtype)
    wanted = results(conv, dense, features, seed)
    features, seed = features.to(device), seed.to(device)
    conv.to(device)
    for form in forms_on(device):
        conv.form = form
        assert_same(results(conv, lambda h: conv(graph, h), features, seed), wanted)


@pytest.mark.parametrize("num_spheres", [1, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_edge_convolution(num_spheres: int, bias: bool, dtype: torch.dtype, device: str) -> None:
    graph = ConcentricLevel(2, num_spheres)
    conv = SphereEdgeConv(3, 5, bias).to(dtype)
    rings = [ring[ring >= 0].tolist() for ring in icosphere(2).neighbours]

    def by_definition(h: Tensor) -> Tensor:
        heard = torch.stack([(h[:, ring] @ conv.weight[1]).amax(dim=1) for ring in rings], dim=1)
        result = h @ conv.weight[0] + heard
        return result if conv.bias is None else result + conv.bias

    features = torch.randn(num_spheres, 162, B, 3, dtype=dtype)
    seed = torch.randn(num_spheres, 162, B, 5, dtype=dtype)
    wanted = results(conv, by_definition, features, seed)
    features, seed = features.to(device), seed.to(device)
    conv.to(device)
    for form in forms_on(device):
        conv.form = form
        assert_same(results(conv, lambda h: conv(graph, h), features, seed), wanted)


@needs_dgl
def test_edge_convolution_follows_the_edges_of_an_edited_graph() -> None:
    graph = concentric_heterograph(1, 1)
    graph.remove_edges(graph.in_edges(3, form="eid", etype="intra")[:4], etype="intra")
    features = torch.randn(1, 42, B, 3)
    conv = SphereEdgeConv(3, 4)
    wanted = SphereEdgeConv(3, 4, form="reference")
    wanted.load_state_dict(conv.state_dict())
    torch.testing.assert_close(conv(graph, features), wanted(graph, features), **TOLERANCE[torch.float32])
    graph.remove_edges(graph.in_edges(3, form="eid", etype="intra"), etype="intra")
    with pytest.raises(ValueError, match="vertex 3 has 0 edges from its neighbours; give each vertex 1 to 256"):
        conv(graph, features)


@pytest.mark.parametrize("num_spheres", [1, 2, 5])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("bias", [False, True])
def test_radial_convolution(num_spheres: int, kernel_size: int, bias: bool, dtype: torch.dtype, device: str) -> None:
    graph = ConcentricLevel(1, num_spheres, kernel_size)
    conv = RadialConv(3, 4, kernel_size, bias).to(dtype)

    def as_conv1d(h: Tensor) -> Tensor:
        sequences = h.permute(1, 2, 3, 0).flatten(0, 1)  # (V·B, C, R)
        weight = conv.weight.permute(2, 1, 0)
        result = nn.functional.conv1d(sequences, weight, conv.bias, padding=kernel_size // 2)
        return result.unflatten(0, (h.shape[1], h.shape[2])).permute(3, 0, 1, 2)

    features = torch.randn(num_spheres, 42, B, 3, dtype=dtype)
    seed = torch.randn(num_spheres, 42, B, 4, dtype=dtype)
    wanted = results(conv, as_conv1d, features, seed)
    features, seed = features.to(device), seed.to(device)
    conv.to(device)
    for form in forms_on(device):
        conv.form = form
        assert_same(results(conv, lambda h: conv(graph, h), features, seed), wanted)


@pytest.mark.parametrize("reduction", ["max", "mean", "sum"])
@pytest.mark.parametrize("num_spheres", [1, 3])
def test_pooling(reduction: Any, num_spheres: int, dtype: torch.dtype, device: str) -> None:
    graph, pool = PoolingLevel(2, num_spheres), SpherePool(reduction)

    def by_definition(h: Tensor) -> Tensor:
        coarse = []
        for u in range(42):
            ring = icosphere(2).neighbours[u]
            members = h[:, [u, *ring[ring >= 0].tolist()]]
            coarse.append(getattr(members, {"max": "amax"}.get(reduction, reduction))(dim=1))
        return torch.stack(coarse, dim=1)

    features = torch.randn(num_spheres, 162, B, 4, dtype=dtype)
    seed = torch.randn(num_spheres, 42, B, 4, dtype=dtype)
    wanted = results(pool, by_definition, features, seed)
    features, seed = features.to(device), seed.to(device)
    pool.to(device)
    for form in forms_on(device):
        pool.form = form
        assert_same(results(pool, lambda h: pool(graph, h), features, seed), wanted)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "reference"])
def test_the_gradient_of_equal_maxima_goes_to_one_vertex(form: Any) -> None:
    features = torch.zeros(1, 42, 2, 3, requires_grad=True)
    SpherePool("max", form)(PoolingLevel(1, 1), features).sum().backward()
    assert features.grad is not None and float(features.grad.sum()) == 12 * 2 * 3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("widths", [([4, 4], [8, 8]), ([6], [3])])
def test_block(training: bool, widths: tuple[list[int], list[int]], dtype: torch.dtype, device: str) -> None:
    level = ConcentricLevel(1, 3)
    block: Any = ConcentricBlock(4, *widths).to(dtype).train(training)
    for norm in [*block.intra_norms, *block.radial_norms]:
        nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
        norm.momentum = 0.0

    def normalise(norm: Any, h: Tensor) -> Tensor:
        mean, variance = norm.running_mean, norm.running_var
        if training:
            mean, variance = h.mean((0, 1, 2)), h.var((0, 1, 2), unbiased=False)
        return ((h - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias).clamp_min(0)

    def by_definition(h: Tensor) -> Tensor:
        for conv, norm in zip(block.intra, block.intra_norms, strict=True):
            matrix = adjacency(1, dtype) + torch.eye(42, dtype=dtype)
            new = normalise(norm, torch.einsum("uv,rvbc,cf->rubf", matrix, h, conv.weight) + conv.bias)
            h = new + h if new.shape == h.shape else new
        for conv, norm in zip(block.radial, block.radial_norms, strict=True):
            padded = nn.functional.pad(h, (0, 0, 0, 0, 0, 0, 1, 1))
            taps = [padded[k : k + 3] @ conv.weight[k] for k in range(3)]
            h = normalise(norm, sum(taps) + conv.bias)
        return h

    features = torch.randn(3, 42, B, 4, dtype=dtype)
    seed = torch.randn(3, 42, B, block.out_channels, dtype=dtype)
    wanted = results(block, by_definition, features, seed)
    features, seed = features.to(device), seed.to(device)
    block.to(device)
    for form in forms_on(device):
        for conv in [*block.intra, *block.radial]:
            conv.form = form
        got = results(block, lambda h: block(level, h), features, seed)
        # Biases before a batch norm have no gradient but rounding.
        assert_same(got, wanted, without=r"(intra|radial)\.\d\.bias" if training else "nothing")


@needs_dgl
@pytest.mark.parametrize("form", FORMS)
def test_node_features_are_the_same_memory_as_the_grid(form: Any) -> None:
    graph, steps = concentric_heterograph(1, 3), pooling_graph(1, 3)
    features = torch.randn(3, 42, B, 4)
    for layer in (IntraSphereConv(4, 5, form=form), RadialConv(4, 5, form=form)):
        assert torch.equal(layer(graph, features.flatten(0, 1)), layer(graph, features).flatten(0, 1))
    pool = SpherePool(form=form)
    assert torch.equal(pool(steps, features.flatten(0, 1)), pool(steps, features).flatten(0, 1))


@needs_dgl
def test_layers_read_the_edges_that_the_graph_has() -> None:
    graph = concentric_heterograph(1, 3)
    graph.remove_edges(torch.arange(0, graph.num_edges("intra"), 3), etype="intra")
    graph.remove_edges(torch.arange(0, graph.num_edges("radial"), 3), etype="radial")
    features = torch.randn(3, 42, B, 4, dtype=torch.float64)
    seed = torch.randn(3, 42, B, 4, dtype=torch.float64)
    for layer in (IntraSphereConv(4, 4).double(), RadialConv(4, 4).double()):
        got = results(layer, lambda h: layer(graph, h), features, seed)  # noqa: B023 - called at once
        layer.form = "reference"
        assert_same(got, results(layer, lambda h: layer(graph, h), features, seed))  # noqa: B023
        full = layer(concentric_heterograph(1, 3), features)
        assert not torch.allclose(got["output"], full, **TOLERANCE[torch.float64])
    with pytest.raises(ValueError, match="kernel of size 3 reads are not those of concentric spheres"):
        RadialConv(4, 4, form="fast").double()(graph, features)


def test_autocast_computes_in_bfloat16_and_close_to_float32() -> None:
    level = ConcentricLevel(2, 4)
    block = ConcentricBlock(8, [16, 16], [32, 32])
    features = torch.randn(4, 162, 8, 8)
    exact = block(level, features)
    with torch.autocast("cpu", torch.bfloat16):
        rough = block(level, features)
    assert rough.dtype == torch.bfloat16
    error = (rough.float() - exact).detach().norm() / exact.norm().detach()
    assert 1e-4 < float(error) < 2e-2
    rough.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in block.parameters())


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (IntraSphereConv(4, 5), (3, 42, 2, 3), r"\(3, 42, B, 4\) expected, got \(3, 42, 2, 3\)"),
        (RadialConv(4, 5), (2, 42, 2, 4), r"\(3, 42, B, 4\) expected, got \(2, 42, 2, 4\)"),
        (IntraSphereConv(4, 5), (42, 2, 4), r"\(3, 42, B, 4\) expected, got \(42, 2, 4\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer(ConcentricLevel(1, 3), torch.zeros(shape))


@pytest.mark.parametrize("layer", [IntraSphereConv(4, 5), RadialConv(4, 5), ConcentricBlock(4, [5], [5])], ids=str)
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.int64])
def test_features_of_another_dtype_than_the_weights_are_refused(layer: nn.Module, kind: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"the features are {kind} and the weights torch.float32; convert one of them"):
        layer(ConcentricLevel(1, 3), torch.ones(3, 42, 2, 4, dtype=kind))


def test_pooling_refuses_features_of_another_level() -> None:
    with pytest.raises(ValueError, match=r"\(3, 162, B, C\) expected, got \(3, 42, 1, 1\)"):
        SpherePool()(PoolingLevel(2, 3), torch.zeros(3, 42, 1, 1))


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="form must be one of auto, compiled, fast, reference, not 'slow'"):
        IntraSphereConv(1, 1, form="slow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kernel_size must be an odd integer of at least 1, not 2"):
        RadialConv(1, 1, kernel_size=2)
    with pytest.raises(ValueError, match="reduction must be one of max, mean, sum, not 'min'"):
        SpherePool("min")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="built with kernel_size=3, the layer has 5"):
        RadialConv(1, 1, kernel_size=5)(ConcentricLevel(0, 4), torch.zeros(4, 12, 1, 1))


def test_printed_layers_say_what_they_are() -> None:
    assert repr(IntraSphereConv(2, 3)) == "IntraSphereConv(2, 3, self_loop=True, form='auto')"
    assert repr(RadialConv(2, 3)) == "RadialConv(2, 3, kernel_size=3, form='auto')"
    assert repr(SpherePool("mean")) == "SpherePool('mean', form='auto')"


def test_parameters_are_drawn_within_the_documented_bounds() -> None:
    for layer, fan_in in ((IntraSphereConv(16, 64), 16), (RadialConv(16, 64), 48)):
        bound = fan_in**-0.5
        for _, values in layer.named_parameters():
            assert 0.9 * bound < float(values.detach().abs().max()) <= bound
        before = layer.weight.clone()
        layer.reset_parameters()
        assert not torch.equal(before, layer.weight)
