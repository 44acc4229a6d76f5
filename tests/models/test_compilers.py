"""CSGNN under torch's compilers, exporters, tracers and transforms, against what it computes by itself."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CSGNN
from csgnn_dgl.nn import without_observing
from csgnn_dgl.nn.ops import library
from tests.forms import FORMS
from tests.tolerances import NUMERIC, TOLERANCE


class FromGrid(nn.Module):
    """The model from features on the grid to logits, as a module of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        sizes: dict[str, Any] = {"level": 1, "num_spheres": 3, "channels": 2, "num_classes": 5, "base_width": 1}
        self.model = CSGNN(**sizes, num_points=64, dropout=0.0, **options)

    def forward(self, features: Tensor) -> Tensor:
        return self.model.forward_grid(features)


def make_features(batch: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(3, 42, batch, 2, generator=torch.Generator().manual_seed(batch)).to(dtype)


def close(got: Tensor | None, wanted: Tensor | None) -> None:
    assert got is not None and wanted is not None
    torch.testing.assert_close(got, wanted, **TOLERANCE[wanted.dtype])


def assert_same_buffers(got: nn.Module, wanted: nn.Module) -> None:
    for one, other in zip(got.buffers(), wanted.buffers(), strict=True):
        close(one.double(), other.double())


@pytest.mark.parametrize("training", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_compiled_model_has_one_graph_and_the_same_results(training: bool) -> None:
    plain = FromGrid().double().train(training)
    compiled = copy.deepcopy(plain)
    call = torch.compile(compiled, fullgraph=True, backend="aot_eager")
    for step in range(3):
        for batch in (4, 6):
            inputs = [make_features(batch + step, torch.float64).requires_grad_() for _ in range(2)]
            outputs = [plain(inputs[0]), call(inputs[1])]
            close(outputs[1], outputs[0])
            for output in outputs:
                output.square().sum().backward()
            close(inputs[1].grad, inputs[0].grad)
    for (name, wanted), got in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        if not name.endswith("bias"):  # biases before a norm have no gradient but rounding
            close(got.grad, wanted.grad)
    assert_same_buffers(compiled, plain)
    # What was compiled counted the batches, which goes on.
    close(compiled(make_features(4, torch.float64)), plain(make_features(4, torch.float64)))
    assert_same_buffers(compiled, plain)


def test_inductor_computes_the_same() -> None:
    block: Any = FromGrid().model.encoder.blocks[1].eval()
    level = FromGrid().model.encoder.grid.levels[0]
    features = torch.randn(3, 12, 4, block.in_channels)
    close(torch.compile(block, fullgraph=True)(level, features), block(level, features))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as an exported program of any batch size, in a file."""
    shapes = ({2: torch.export.Dim("batch", min=2, max=1000)},)
    program = torch.export.export(FromGrid().eval(), (make_features(),), dynamic_shapes=shapes)
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("csgnn" in name for name in names)
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    torch.export.save(program, path)
    return path


@pytest.mark.slow
def test_an_exported_model_runs_without_dgl_and_this_package(exported: Path, tmp_path: Path) -> None:
    torch.save(make_features(7), tmp_path / "features.pt")
    program = f"""
import sys
sys.modules["dgl"] = sys.modules["csgnn_dgl"] = None
import torch
module = torch.export.load({str(exported)!r}).module()
features = torch.load({str(tmp_path / "features.pt")!r})
torch.save(module(features).detach(), {str(tmp_path / "logits.pt")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    close(torch.load(tmp_path / "logits.pt"), FromGrid().eval()(make_features(7)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_computes_the_same(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, path = FromGrid().eval(), tmp_path / "model.onnx"
    shapes = ({2: torch.export.Dim("batch", min=2, max=1000)},)
    torch.onnx.export(model, (make_features(),), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = runtime.InferenceSession(path)
    (logits,) = session.run(None, {session.get_inputs()[0].name: make_features(7).numpy()})
    close(torch.from_numpy(logits), model(make_features(7)))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["auto", pytest.param("fast", marks=pytest.mark.slow)])
def test_traces_compute_the_same(form: Any, tmp_path: Path) -> None:
    model = FromGrid(form=form).eval()
    trace = torch.jit.trace(model, make_features())
    close(trace(make_features(7)), model(make_features(7)))
    clouds = torch.randn(2, 64, 3)
    close(torch.jit.trace(model.model, clouds)(clouds), model.model(clouds))
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(tmp_path))
    writer.add_graph(model.model, clouds)
    writer.close()


@pytest.mark.parametrize("form", [form for form in FORMS if form != "reference"])
def test_fake_tensors_have_the_shapes_of_real_ones(form: Any) -> None:
    model = FromGrid(form=form)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        features = mode.from_tensor(make_features().requires_grad_())
        logits = model(features)
        logits.sum().backward()
    assert logits.shape == (4, 5)
    assert features.grad is not None and features.grad.shape == features.shape


@pytest.mark.parametrize("form", [form for form in FORMS if form != "compiled"])
def test_operations_are_counted_as_in_the_reference(form: Any) -> None:
    model: Any = FromGrid(form=form)
    counts = {}
    for wanted in (True, False):
        with FlopCounterMode(display=False) as counter:
            model(make_features().requires_grad_(wanted)).sum().backward()
        counts[wanted] = counter.get_total_flops()
    rows, convolved = {0: 3 * 42 * 4, 1: 3 * 12 * 4}, 0
    for index, block in enumerate(model.model.encoder.blocks):
        for conv in [*block.intra, *block.radial]:
            convolved += 2 * rows[index] * conv.weight.numel()
    head = sum(2 * 4 * layer.weight.numel() for layer in model.model.head if isinstance(layer, nn.Linear))
    first = 2 * rows[0] * model.model.encoder.blocks[0].intra[0].weight.numel()
    if form == "reference" or (
        form == "auto" and library.available()
    ):  # fast leaves out products with the zeros beyond the ends
        assert counts == {True: 3 * (convolved + head), False: 3 * (convolved + head) - first}
    assert counts[True] - counts[False] == first
    assert 0.7 < counts[True] / (3 * (convolved + head)) <= 1


def tangent_by_differences(model: nn.Module, features: Tensor, tangent: Tensor) -> Tensor:
    step = 1e-6
    with torch.no_grad():
        return (model(features + step * tangent) - model(features - step * tangent)) / (2 * step)


@pytest.mark.parametrize("form", ["auto", "fast"])
def test_transforms_of_torch_func(form: Any) -> None:
    model: Any = FromGrid(form=form).double().eval()
    features = make_features(2, torch.float64)
    parameters: dict[str, Tensor] = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], features: Tensor) -> Tensor:
        found: Tensor = functional_call(model, parameters, (features,))
        return found.square().sum()

    got = grad(loss)(parameters, features)
    wanted = torch.autograd.grad(loss(parameters, features), list(parameters.values()))
    for name, value in zip(parameters, wanted, strict=True):
        close(got[name], value)
    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, torch.stack([features, 2 * features]))
    close(per_sample["model.head.1.weight"][0], got["model.head.1.weight"])
    batches = torch.stack([features, features.flip(0)])
    close(vmap(model)(batches), torch.stack([model(batch) for batch in batches]))
    tangent = torch.randn_like(features)
    wanted_tangent = tangent_by_differences(model, features, tangent)
    torch.testing.assert_close(jvp(model, (features,), (tangent,))[1], wanted_tangent, **NUMERIC)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(model(forward_ad.make_dual(features, tangent))).tangent
    assert found is not None
    torch.testing.assert_close(found, wanted_tangent, **NUMERIC)
    conv: Any = model.model.encoder.blocks[1].radial[0]
    level: Any = model.model.encoder.grid.levels[0]
    small = torch.randn(3, 12, 1, conv.in_channels, dtype=torch.float64)
    twice = hessian(lambda value: conv(level, value).pow(2).sum())(small)
    direct = torch.autograd.functional.hessian(lambda value: conv(level, value).pow(2).sum(), small)
    assert direct.any()
    close(twice, direct)


@pytest.mark.parametrize("form", [form for form in FORMS if form in ("reference", "compiled")])
def test_forms_that_cannot_be_transformed_name_those_that_can(form: Any) -> None:
    model, features = FromGrid(form=form).eval(), make_features()
    calls: list[Any] = [
        lambda: grad(lambda value: model(value).sum())(features),
        lambda: vmap(model)(features[None]),
        lambda: jvp(model, (features,), (features,)),
        lambda: torch.export.export(model, (features,)),
        lambda: torch.jit.trace(model, features),
    ]
    for call in calls:
        with warnings.catch_warnings(), pytest.raises(ValueError, match=f"form='{form}' .* use form='auto' or 'fast'"):
            warnings.simplefilter("ignore")
            call()
    with pytest.raises(ValueError, match="use form='auto' or 'fast'"), forward_ad.dual_level():
        model(forward_ad.make_dual(features, features))


def test_norms_in_training_say_why_they_cannot_be_transformed() -> None:
    model, features = FromGrid().double().train(), make_features(3, torch.float64)
    with pytest.raises(RuntimeError, match=r"use model\.eval\(\), or csgnn_dgl\.nn\.without_observing"):
        grad(lambda value: model(value).sum())(features)
    with without_observing(model):
        got = grad(lambda value: model(value).square().sum())(features)
        features.requires_grad_()
        model(features).square().sum().backward()
    close(got, features.grad)


@pytest.mark.parametrize("form", FORMS)
def test_a_penalty_on_the_gradient_reaches_every_parameter(form: Any) -> None:
    found = []
    for each in ("fast", form):
        model, features = FromGrid(form=each).double(), make_features(3, torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(model(features).square().sum(), features, create_graph=True)
        gradient.square().sum().backward()
        found.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys() and any("intra.0.weight" in name for name in found[0])
    scale = max(float(value.abs().max()) for value in found[0].values())
    for name, wanted in found[0].items():
        close(found[1][name] / scale, wanted / scale)


@pytest.mark.slow
def test_the_whole_model_from_points_is_one_graph_and_can_be_exported() -> None:
    torch.manual_seed(2)
    model = CSGNN(**CSGNN.tiny, num_classes=5).double().eval()
    points = torch.randn(4, model.num_points, 3, dtype=torch.float64)
    points[1, :12] = torch.tensor(icosphere(0).vertices) * 2  # on corners of triangles
    points[2, :9] = 0  # at the centre
    close(torch.compile(model, fullgraph=True, backend="aot_eager")(points), model(points))
    program = torch.export.export(model, (points[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    close(program.module()(points), model(points))
    with pytest.raises(RuntimeError, match="coordinates that are not finite"):
        program.module()(points * torch.nan)
