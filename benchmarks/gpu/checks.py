"""The device against the reference: the same torch computation on the CPU in float64."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu.clock import attempt
from benchmarks.gpu.setting import PRECISIONS, Precision, Setting, autocast, dtype_of, products_in
from benchmarks.gpu.work import Work, random_clouds, settle_statistics
from benchmarks.sizes import Size
from csgnn_dgl.geometry import icosahedral_rotations, icosphere
from csgnn_dgl.graphs.grid import ConcentricGrid
from csgnn_dgl.mapping import MAPPINGS
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models import CSGNN
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, NormReLU, RadialConv, SpherePool
from csgnn_dgl.testing import rotate_points

Kind = Literal["layer", "block", "model"]
OUTPUT, GRADIENTS = "output", ("input gradient", "weight gradients")

LARGEST: dict[Precision, tuple[float, float]] = {"float64": (1e-10, 1e-11), "float32": (1e-4, 1e-5)}
"""Largest difference that is allowed, as a share of the largest value and absolutely."""
NORM: dict[tuple[Kind, Precision], tuple[float, float]] = {
    ("block", "float32"): (1e-4, 5e-3),
    ("model", "float32"): (1e-3, 5e-2),
    ("layer", "bf16"): (5e-2, 5e-2),
    ("block", "bf16"): (5e-2, 0.3),
    ("model", "bf16"): (0.3, 0.7),
}
"""Where the largest difference says little: ‖a - b‖ / ‖b‖ of outputs and of gradients.

Behind a ReLU or a maximum, rounding decides now and then which value a gradient passes to.
"""
# What is listed in neither, such as TF32, is reported and not judged.


@dataclasses.dataclass(frozen=True)
class Case:
    """A module to compare.

    Attributes
    ----------
    name, kind
        What it is.
    build
        Makes the module.
    call
        Runs it on features of `shape`.
    """

    name: str
    kind: Kind
    build: Callable[[], nn.Module]
    call: Callable[[nn.Module, Tensor], Tensor]
    shape: tuple[int, ...]


def layer_cases(level: int = 2, num_spheres: int = 3, batch: int = 3) -> list[Case]:
    """List the layers and the block, small enough that rounding at a ReLU is unlikely to change a gradient."""
    grid = ConcentricGrid(level, num_spheres, kernel_size=5)
    here, step = grid.levels[level], grid.steps[level]
    shape = (num_spheres, here.num_vertices, batch)

    def on_level(module: nn.Module, features: Tensor) -> Tensor:
        found: Tensor = module(here, features)
        return found

    def on_step(module: nn.Module, features: Tensor) -> Tensor:
        found: Tensor = module(step, features)
        return found

    def alone(module: nn.Module, features: Tensor) -> Tensor:
        found: Tensor = module(features)
        return found

    cases = [
        Case("intra 8 -> 16", "layer", lambda: IntraSphereConv(8, 16, form="fast"), on_level, (*shape, 8)),
        Case("intra 16 -> 8", "layer", lambda: IntraSphereConv(16, 8, form="fast"), on_level, (*shape, 16)),
        Case(
            "intra 8 -> 8, no self-loop",
            "layer",
            lambda: IntraSphereConv(8, 8, self_loop=False, form="fast"),
            on_level,
            (*shape, 8),
        ),
        Case("radial 8 -> 16, K = 3", "layer", lambda: RadialConv(8, 16, 3, form="fast"), on_level, (*shape, 8)),
        Case("radial 16 -> 8, K = 5", "layer", lambda: RadialConv(16, 8, 5, form="fast"), on_level, (*shape, 16)),
        Case("norm and ReLU, training", "layer", lambda: NormReLU(8), alone, (*shape, 8)),
        Case("norm and ReLU, evaluation", "layer", lambda: NormReLU(8).eval(), alone, (*shape, 8)),
        Case("pooling, max", "layer", lambda: SpherePool("max", form="fast"), on_step, (*shape, 8)),
        Case("pooling, mean", "layer", lambda: SpherePool("mean", form="fast"), on_step, (*shape, 8)),
        Case("pooling, sum", "layer", lambda: SpherePool("sum", form="fast"), on_step, (*shape, 8)),
        Case("block", "block", lambda: ConcentricBlock(8, [8, 16], [16, 16], form="fast"), on_level, (*shape, 8)),
    ]
    return cases


def model_case(size: Size, num_points: int) -> Case:
    """Return the whole model, from features on the grid to logits, without dropout."""

    def build() -> nn.Module:
        return CSGNN(**size.model_options(), num_points=num_points, dropout=0.0, form="fast")

    def call(module: nn.Module, features: Tensor) -> Tensor:
        assert isinstance(module, CSGNN)
        return module.forward_grid(features.abs())

    vertices = icosphere(size.level).num_vertices
    return Case("CSGNN", "model", build, call, (size.num_spheres, vertices, size.batch, size.channels))


def check_layers(setting: Setting) -> dict[str, Any]:
    """Compare every layer and the block in all precisions."""
    cases = layer_cases(level=1) if setting.tiny else layer_cases()
    return _check(setting, cases)


def check_model(setting: Setting) -> dict[str, Any]:
    """Compare the whole model in all precisions, and its logits for clouds at the paper's size."""
    found = _check(setting, [model_case(setting.check_size, setting.num_points)])
    found["rows"] += _paper_logits(setting)
    return found


def _check(setting: Setting, cases: Sequence[Case]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    for case in cases:
        found = attempt(errors, case.name, lambda case=case: {"rows": compare(setting, case)})
        rows += [] if found is None else found["rows"]
    return {"rows": rows, "errors": errors}


def compare(setting: Setting, case: Case) -> list[dict[str, Any]]:
    """Compare outputs and gradients of a module in all precisions with float64 on the CPU.

    The inputs are bfloat16 numbers and the weights float32 numbers, so that all precisions work on the same.
    """
    torch.manual_seed(0)
    module = case.build()
    for parameter in module.parameters():  # batch norm begins with ones and zeros
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    inputs = torch.randn(case.shape).bfloat16()
    expected = _results(case, copy.deepcopy(module).double(), inputs.double())
    rows = []
    for precision in PRECISIONS:
        dtype = dtype_of(precision)
        given = inputs if precision == "bf16" and case.kind == "layer" else inputs.to(dtype)
        moved = copy.deepcopy(module).to(setting.device, dtype)
        with products_in(precision):
            found = _results(case, moved, given.to(setting.device), autocast(precision, setting.device))
        for what, values in expected.items():
            rows.append(_row(case.name, case.kind, precision, what, found[what], values))
    return rows


def _results(
    case: Case, module: nn.Module, inputs: Tensor, context: torch.autocast | None = None
) -> dict[str, list[Tensor]]:
    inputs = inputs.detach().requires_grad_()
    if context is None:
        output = case.call(module, inputs)
    else:
        with context:
            output = case.call(module, inputs)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).bfloat16().double()
    (output.double() * cotangent.to(output.device)).sum().backward()
    assert inputs.grad is not None
    weights = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    found = {OUTPUT: [output.detach()], GRADIENTS[0]: [inputs.grad], GRADIENTS[1]: weights}
    return {what: [value.double().cpu() for value in values] for what, values in found.items() if values}


def _row(
    name: str, kind: Kind, precision: Precision, what: str, found: Sequence[Tensor], expected: Sequence[Tensor]
) -> dict[str, Any]:
    one, other = (torch.cat([value.double().cpu().flatten() for value in values]) for values in (found, expected))
    scale = float(other.abs().max())
    largest = float((one - other).abs().max()) / scale
    norm = float((one - other).norm() / other.norm())
    row = {"name": name, "precision": precision, "what": what, "largest": largest, "norm": norm}
    if (kind, precision) in NORM:
        allowed = NORM[kind, precision][what != OUTPUT]
        return row | {"judged": "norm", "allowed": allowed, "ok": norm <= allowed}
    if precision in LARGEST:
        share, absolute = LARGEST[precision]
        allowed = share + absolute / scale
        return row | {"judged": "largest", "allowed": allowed, "ok": largest <= allowed}
    return row | {"judged": None, "allowed": None, "ok": bool(np.isfinite(norm))}


def _paper_logits(setting: Setting) -> list[dict[str, Any]]:
    """Compare logits from clouds at the paper's size."""
    size = dataclasses.replace(setting.size, batch=min(8, setting.size.batch))
    torch.manual_seed(0)
    model = CSGNN(**size.model_options(), num_points=setting.num_points, dropout=0.0, form="fast")
    points = random_clouds(size, setting.num_points)
    settle_statistics(model, model.mapping(points))
    model.eval()
    rows = []
    with torch.no_grad():
        features = model.mapping(points)
        expected = copy.deepcopy(model).double().forward_grid(features.double())
        for precision in PRECISIONS:
            moved = copy.deepcopy(model).to(setting.device, dtype_of(precision))
            given = features.to(setting.device, dtype_of(precision))
            with products_in(precision), autocast(precision, setting.device):
                found = moved.forward_grid(given)
            rows.append(_row("CSGNN, paper's size, evaluation", "model", precision, OUTPUT, [found], [expected]))
    return rows


def check_mapping(setting: Setting) -> dict[str, Any]:
    """Compare both mappings, on points in general position, on corners, edges and spheres, and at the centre."""
    size = setting.size
    rows = []
    for kind, mapping in MAPPINGS.items():
        here = mapping(size.level, size.num_spheres, size.channels)
        there = copy.deepcopy(here).to(setting.device)
        precisions: tuple[Precision, ...] = ("float64", "float32")
        for precision in precisions:
            points = awkward_points(size, setting.num_points).to(dtype_of(precision))
            found, expected = there(points.to(setting.device)), here(points)
            rows.append(_row(f"mapping, {kind}", "layer", precision, OUTPUT, [found], [expected]))
    return {"rows": rows, "errors": {}}


def awkward_points(size: Size, num_points: int) -> Tensor:
    """Return clouds (4, N, 3) in float64: random directions, corners, middles of edges, whole spheres, the centre.

    Random radii keep away from the borders of cells, where rounding would choose the cell.
    """
    rng = np.random.default_rng(0)
    sphere = icosphere(size.level)
    fine = size.num_spheres * size.channels
    directions = rng.normal(size=(4 * num_points, 3))
    quarter = num_points
    directions[:quarter] = sphere.vertices[rng.integers(len(sphere.vertices), size=quarter)]
    directions[quarter : 2 * quarter] = sphere.vertices[
        sphere.edges[rng.integers(len(sphere.edges), size=quarter)]
    ].sum(1)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = (rng.integers(fine, size=len(directions)) + rng.uniform(0.1, 0.9, len(directions))) / fine
    radii[::8] = rng.integers(1, fine + 1, size=len(radii[::8])) / fine
    points = directions * radii[:, None]
    points[1::32] = 0
    return torch.from_numpy(points[rng.permutation(len(points))].reshape(4, num_points, 3))


def check_rotations(setting: Setting) -> dict[str, Any]:
    """Compare the logits of clouds under the 60 rotations of the icosahedron with those of the clouds themselves."""
    rows = []
    paper = dataclasses.replace(setting.size, batch=min(8, setting.size.batch))
    judged: tuple[tuple[Precision, Size, float], ...] = (
        ("float64", setting.check_size, 1e-10),
        # A point may be rounded across the border of a cell: far less than a rotation without symmetry changes.
        ("float32", paper, 1e-2),
    )
    for precision, size, allowed in judged:
        torch.manual_seed(0)
        dtype = dtype_of(precision)
        model = CSGNN(**size.model_options(), num_points=setting.num_points, form="fast").to(setting.device, dtype)
        points = random_clouds(size, setting.num_points).to(setting.device, dtype)
        settle_statistics(model, model.mapping(points))
        model.eval()
        with torch.no_grad(), products_in(precision):
            expected = model(points)
            turned = [model(rotate_points(points, rotation)) for rotation in icosahedral_rotations()]
        scale = float(expected.abs().max())
        differences = [float((logits - expected).abs().max()) / scale for logits in turned]
        row: dict[str, Any] = {
            "name": f"CSGNN under 60 rotations, level {size.level}, R = {size.num_spheres}",
            "what": "logits",
        }
        row |= {"precision": precision, "largest": max(differences), "median": float(np.median(differences))}
        rows.append(row | {"judged": "largest", "allowed": allowed, "ok": max(differences) <= allowed})
    return {"rows": rows, "errors": {}}


def check_determinism(setting: Setting) -> dict[str, Any]:
    """Compute the same twice and compare bits; replay a captured step and compare it with the eager one."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, str] = {}

    def add(name: str, precision: str, one: Sequence[Tensor], other: Sequence[Tensor], judged: bool) -> None:
        same = all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        difference = max(
            float((a - b).double().norm() / b.double().norm().clamp_min(1e-30)) for a, b in zip(one, other, strict=True)
        )
        row = {"name": name, "precision": precision, "what": "same bits", "same": same, "norm": difference}
        rows.append(row | {"judged": "bits" if judged else None, "ok": same or not judged})

    def layers(precision: Precision) -> dict[str, Any]:
        work = Work(setting, setting.size, precision, learning_rate=0.0, dropout=0.0)
        work.model.train()
        features, labels = work.features(0), work.labels[0].to(setting.device)
        once, again = (_gradients(work, features, labels) for _ in range(2))
        add("gradients from features", precision, once, again, judged=True)
        if setting.cuda:
            work.capture_learning()
            work.learning(features, labels)
            captured = [parameter.grad.clone() for parameter in work.model.parameters() if parameter.grad is not None]
            add("gradients, captured step against eager", precision, captured, once, judged=False)
        return {}

    def step(precision: Precision) -> dict[str, Any]:
        work = Work(setting, setting.size, precision, learning_rate=0.0, dropout=0.0)
        work.model.train()
        labels = work.labels[0].to(setting.device)
        points = work.points(0)
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic)
            with torch.no_grad():
                maps = [work.model.mapping(scale_to_unit_ball(points)) for _ in range(2)]
            name = "deterministic algorithms" if deterministic else "torch's own choice"
            add(f"mapping, {name}", "float32", maps[:1], maps[1:], judged=deterministic)
            both = [_gradients(work, work.features(0, augmented=True), labels) for _ in range(2)]
            add(f"gradients from clouds, {name}", precision, both[0], both[1], judged=deterministic)
        return {}

    precisions: tuple[Precision, ...] = ("bf16", "float32")
    try:
        for precision in precisions:
            with products_in(precision):
                attempt(errors, f"layers, {precision}", layers, precision)
                attempt(errors, f"step, {precision}", step, precision)
                torch.use_deterministic_algorithms(False)
    finally:
        torch.use_deterministic_algorithms(False)
    return {"rows": rows, "errors": errors}


def _gradients(work: Work, features: Tensor, labels: Tensor) -> list[Tensor]:
    work.learn(features, labels)
    return [parameter.grad.clone() for parameter in work.model.parameters() if parameter.grad is not None]
