"""Each layer of the model by itself, and other ways to compute the same: where the time goes, what might save it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.clock import attempt, measure
from benchmarks.gpu.setting import Setting, autocast
from benchmarks.sizes import Layer, layers, num_vertices
from csgnn_dgl.graphs.grid import ConcentricGrid
from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.nn import IntraSphereConv, NormReLU, RadialConv, SpherePool
from csgnn_dgl.nn.ops.intra import Edges, neighbour_sum

Operation = Callable[[Tensor], Tensor]


def operations(setting: Setting) -> dict[str, Any]:
    """Time the layers of the model one by one in bfloat16, and leads: other ways to compute them.

    Returns
    -------
    dict
        ``rows`` with layer, operation, and in milliseconds ``forward`` and ``both`` (forward and backward), and
        ``copy``: that of a tensor as large as the layer's output.
    """
    rows: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    grid = ConcentricGrid(setting.size.level, setting.size.num_spheres)
    seen = set()
    for layer in layers(setting.size):
        name = f"level {layer.level}: {layer.kind} {layer.inner} -> {layer.outer}"
        if layer.kind == "linear" or name in seen:
            continue
        seen.add(name)
        shape = (layer.num_spheres, num_vertices(layer.level), setting.size.batch)
        output = torch.rand(*shape, layer.outer, device=setting.device).bfloat16()
        copy = _median(output.clone, setting)
        for what, width, make in _candidates(layer, grid):
            inputs = torch.randn(*shape, width, device=setting.device).bfloat16()
            # The gradient of a sum is the same sum over the reversed table.
            backward = not what.startswith("lead: sum")
            row = attempt(errors, f"{name}, {what}", _time, setting, make, inputs, backward)
            rows += [] if row is None else [{"layer": name, "operation": what, **row, "copy": copy}]
        found = attempt(errors, f"{name}, weight gradient", _weight_gradients, setting, layer, shape)
        rows += [] if found is None else [{"layer": name, "copy": copy, **row} for row in found["rows"]]
    return {"rows": rows, "errors": errors}


def _candidates(layer: Layer, grid: ConcentricGrid) -> Iterator[tuple[str, int, Callable[[torch.device], Operation]]]:
    """List what is timed at a layer: its name, the channels of its input, and what makes it on a device."""
    level = grid.levels[layer.level]
    if layer.kind == "intra":
        conv = IntraSphereConv(layer.inner, layer.outer, form="fast")
        narrow = min(layer.inner, layer.outer)
        yield "convolution", layer.inner, lambda device: _bound(conv.to(device), level)
        yield "neighbour sum", narrow, lambda device: _neighbour_sum(level.relation(device, self_loop=True))
        yield "lead: sum over the table", narrow, lambda device: _table_sum(level.relation(device, self_loop=True))
        if layer.first and torch.cuda.is_available():
            yield "lead: sum over the table, compiled", narrow, lambda device: _compiled_sum(level, device)
    else:
        radial = RadialConv(layer.inner, layer.outer, form="fast")
        yield "convolution", layer.inner, lambda device: _bound(radial.to(device), level)
        yield "lead: conv2d", layer.inner, lambda device: _image_convolution(layer, device)
    yield "norm and ReLU", layer.outer, lambda device: NormReLU(layer.outer).to(device)
    if layer.pooled:
        step = grid.steps[layer.level]
        yield "pooling", layer.outer, lambda device: _bound(SpherePool(form="fast").to(device), step)


def _bound(module: nn.Module, structure: Any) -> Operation:
    return lambda features: module(structure, features)


def _neighbour_sum(relation: Relation) -> Operation:
    return lambda features: neighbour_sum(features.reshape(len(relation.offsets) - 1, -1), Edges.of(relation))


def _table_sum(relation: Relation) -> Operation:
    """Sum over the table of sources, the shorter rows of which repeat their first source."""
    degree, start = relation.offsets.diff().long()[:, None], relation.offsets[:-1, None].long()
    position = torch.arange(int(degree.max()), device=degree.device)
    columns = relation.sources.long()[start + torch.where(position < degree, position, 0)].unbind(dim=1)

    def total(features: Tensor) -> Tensor:
        rows = features.reshape(len(degree), -1)
        result = rows.index_select(0, columns[0])
        for position, column in enumerate(columns[1:], start=1):
            result = result + torch.where(degree > position, rows.index_select(0, column), 0)
        return result

    return total


def _compiled_sum(level: ConcentricLevel, device: torch.device) -> Operation:
    compiled: Operation = torch.compile(_table_sum(level.relation(device, self_loop=True)), dynamic=False)
    return compiled


def _image_convolution(layer: Layer, device: torch.device) -> Operation:
    """The radial convolution as a convolution of an image of R rows, whose memory the grid's is."""
    conv = nn.Conv2d(layer.inner, layer.outer, (3, 1), padding=(1, 0), device=device)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    return lambda features: conv(features.flatten(1, 2)[None].permute(0, 3, 1, 2))


def _time(
    setting: Setting, make: Callable[[torch.device], Operation], inputs: Tensor, backward: bool
) -> dict[str, float | None]:
    operation = make(inputs.device)
    inputs = inputs.requires_grad_(backward)

    def forward() -> Tensor:
        with autocast("bf16", setting.device):
            return operation(inputs)

    if not backward:
        return {"forward": _median(forward, setting), "both": None}
    gradient = torch.randn_like(forward())

    def both() -> None:
        inputs.grad = None
        forward().backward(gradient)

    return {"forward": _median(forward, setting), "both": _median(both, setting)}


def _weight_gradients(setting: Setting, layer: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    """Time the weight gradient, a sum over all rows: as one product, and as many that are added up."""
    features, gradient = (
        torch.randn(layer.rows, width, device=setting.device).bfloat16() for width in (layer.inner, layer.outer)
    )
    chunks = shape[0] * shape[2]  # divides the rows

    def in_chunks() -> Tensor:
        one, other = features.view(chunks, -1, layer.inner), gradient.view(chunks, -1, layer.outer)
        return torch.bmm(one.transpose(1, 2), other).sum(dim=0, dtype=torch.float32)

    exact = (features[:, :8].double().T @ gradient.double()).cpu()
    rows = []
    for name, action in (
        ("weight gradient, one product", lambda: features.T @ gradient),
        (f"lead: weight gradient, {chunks} products", in_chunks),
    ):
        found = action()[:8].double().cpu()
        error = float((found - exact).norm() / exact.norm())
        rows.append({"operation": name, "forward": None, "both": _median(action, setting), "error": error})
    return {"rows": rows}


def _median(action: Callable[[], object], setting: Setting) -> float:
    return float(measure(action, setting.device, 1e-3 if setting.tiny else 0.05)["median"])
