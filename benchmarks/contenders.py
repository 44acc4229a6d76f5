"""Who is compared: the same model, weights and inputs in several forms; and each of its layers by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch._dynamo
from torch import Tensor, nn

from benchmarks.composition import Composition, to_composition
from benchmarks.harness import Built, Entry
from benchmarks.sizes import SIZES, Layer, Size, layers, new_model, num_vertices
from csgnn_dgl import ConcentricGrid
from csgnn_dgl.mapping import Environments
from csgnn_dgl.models import CSGNNDOS
from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, NormReLU, RadialConv, SpherePool

MODES = ("training", "inference")


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a contender is made.

    Attributes
    ----------
    description
        In words.
    form
        Form of the package's layers; or, with `library`, that of the model whose weights are taken.
    bf16
        Whether it runs under bfloat16 autocast.
    keep_blocks
        Whether large blocks of memory are kept.
    library, linear
        Options of `Composition`; without a library it is the package's model.
    compiled
        The mode of ``torch.compile``; None: it is not compiled.
    """

    description: str
    form: Any = "auto"
    bf16: bool = False
    keep_blocks: bool = True
    library: str | None = None
    linear: bool = False
    compiled: str | None = None


CONTENDERS = {
    "auto": Kind("the package as it comes, float32"),
    "auto-bf16": Kind("the same under bfloat16 autocast", bf16=True),
    "fast": Kind("the package's form in torch alone, float32", "fast"),
    "inductor": Kind("that through torch.compile", "fast", compiled="default"),
    "inductor-bf16": Kind("the same under bfloat16 autocast", "fast", bf16=True, compiled="default"),
    "inductor-graphs": Kind("the same in CUDA graphs", "fast", bf16=True, compiled="reduce-overhead"),
    "reference": Kind("the package's DGL message passing, float32", "reference"),
    "composition": Kind("dgl.nn.GraphConv, permute, Conv1d, permute, index pooling, float32", library="dgl"),
    "composition-as-is": Kind(
        "the same under the system's own allocator, as a user gets it", library="dgl", keep_blocks=False
    ),
    "composition-linear": Kind(
        "that with nn.Linear as the 1x1 convolution, of a DOS", library="dgl", linear=True, keep_blocks=False
    ),
    "composition-torch": Kind("the composition without dgl, on any device", library="torch"),
}
ONLY_SMALL = ("fast", "inductor", "reference")
"""Who takes part only at the smallest sizes unless named: slower forms, and what takes long to compile."""


def usual(size_name: str) -> list[str]:
    """Return the contenders at a size if none are named."""
    names = ["auto", "auto-bf16", *ONLY_SMALL, "composition", "composition-as-is", "composition-linear"]
    left_out = () if size_name in ("tiny", "small") else ONLY_SMALL
    if SIZES[size_name].num_bins is None:
        left_out = (*left_out, "composition-linear")
    return [name for name in names if name not in left_out]


TOLERANCE = {
    ("outputs", False): 1e-3,
    ("outputs", True): 0.2,
    ("gradients", False): 0.05,
    ("gradients", True): 0.7,
}
"""Largest ‖a - b‖ / ‖b‖, in float32 and (True) in bfloat16; wrong results differ by about 1.

Gradients of a network that was only just drawn hang on which of nearly equal features is the maximum: rounding changes
one choice in a million in float32 and one in a hundred in bfloat16. Torch's batch norm, which adds up all rows in
float32, is off by 1e-3 with the 160,000 rows of the size ``dos``. The tests compare the contenders in float64.
"""


class Contender:
    """A model with its optimiser, inputs and labels.

    Parameters
    ----------
    name
        Key of `CONTENDERS`.
    size
        What to build. The same size gives the same weights, inputs and labels in every process.
    settle
        Whether to run the model once for the statistics of batch norm.
    device
        Where it runs.
    """

    def __init__(self, name: str, size: Size, settle: bool = True, device: str = "cpu") -> None:
        kind = CONTENDERS[name]
        torch.manual_seed(0)
        base = new_model(size)
        self.criterion: Callable[[Tensor, Tensor], Tensor]
        if isinstance(base, CSGNNDOS):
            features = base.mapping(draw_environments(size.batch, base.cutoff)).to(device)
            self.targets = torch.rand(size.batch, base.num_bins).to(device)
            self.criterion = nn.functional.mse_loss
        else:
            features = draw_features(size).to(device)
            self.targets = torch.randint(size.num_classes, (size.batch,)).to(device)
            self.criterion = nn.functional.cross_entropy
        base.to(device)
        if settle:
            settle_statistics(base, features)
        self.bf16, self.device = kind.bf16, device
        self.model: nn.Module
        self.forward: Callable[[Tensor], Tensor]
        if kind.library is not None:
            self.features = to_composition(features)
            self.forward = self.model = Composition(base, kind.library, kind.linear).to(device)
            self.probe = self.model.get_parameter("blocks.0.0.norm.weight")
        else:
            self.features = features
            self.model = model = new_model(size, form=kind.form).to(device)
            model.load_state_dict(base.state_dict())
            self.forward = model.forward_grid
            norms = [module for module in model.modules() if isinstance(module, NormReLU)]
            self.probe = norms[0].get_parameter("weight")
        if kind.compiled is not None:
            self.forward = compiled(self.forward, kind.compiled)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def predict(self) -> Tensor:
        """Compute the model's outputs, in float32."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            return self.forward(self.features).float()

    def loss(self) -> Tensor:
        """Cross-entropy of the outputs, or mean square error of a density of states."""
        return self.criterion(self.predict(), self.targets)

    def training(self) -> None:
        """Do one training step: forward, loss, backward, Adam."""
        self.model.train()
        self.optimiser.zero_grad()
        self.loss().backward()
        self.optimiser.step()

    def inference(self) -> None:
        """Compute the outputs of the batch as one would after training."""
        self.model.eval()
        with torch.inference_mode():
            self.predict()

    def outputs(self, training: bool) -> dict[str, Tensor]:
        """Return what must agree between contenders.

        These are the outputs and, if it is about `training`, those in training and the gradient of the weight of the
        first batch norm.
        """
        self.model.eval()
        with torch.inference_mode():
            found = {"outputs at inference": self.predict().flatten().cpu()}
        if not training:
            return found
        self.model.train()
        torch.manual_seed(0)  # the same dropout
        outputs = self.predict()
        self.optimiser.zero_grad()
        self.criterion(outputs, self.targets).backward()
        assert self.probe.grad is not None
        found["outputs in training"] = outputs.detach().flatten().cpu()
        found["gradients"] = self.probe.grad.cpu()
        self.optimiser.zero_grad()
        return found


def compiled(function: Callable[..., Tensor], mode: str) -> Callable[..., Tensor]:
    """Return a function through ``torch.compile``, in one piece and for one shape."""
    torch._dynamo.config.recompile_limit = 64  # one piece of code serves many contenders and layers
    made: Callable[..., Tensor] = torch.compile(function, fullgraph=True, dynamic=False, mode=mode)
    if mode == "default":
        return made

    def step(*arguments: Any) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return made(*arguments)

    return step


def build(contender: str, size: Size, modes: Sequence[str], settle: bool = True, device: str = "cpu") -> Built:
    """Build a contender in its process; without `modes` nothing is compared."""
    made = Contender(contender, size, settle, device)
    outputs = made.outputs("training" in modes) if modes else {}
    return Built({"training": made.training, "inference": made.inference}, outputs)


def entry_of(
    contender: str, size: Size, modes: Sequence[str], name: str = "", device: str = "cpu", **options: Any
) -> Entry:
    """Return the entry of a contender at a size."""
    kind = CONTENDERS[contender]
    given = {"contender": contender, "size": size, "modes": modes, "device": device, **options}
    return Entry(name or contender, build, given, modes, kind.keep_blocks, optional=kind.compiled is not None)


def draw_environments(count: int, cutoff: float) -> Environments:
    """Draw environments of 25 to 250 neighbours (carbon has the most), evenly between 1.2 Å and the cutoff."""
    centre = torch.arange(count).repeat_interleave(torch.linspace(25, 250, count).long())
    directions = nn.functional.normalize(torch.randn(len(centre), 3))
    inner, outer = 1.2**3, cutoff**3
    distances = (inner + (outer - inner) * torch.rand(len(centre), 1)).pow(1 / 3)
    return Environments(directions * distances, centre, torch.zeros_like(centre), count)


def draw_features(size: Size) -> Tensor:
    """Draw features (R, V, B, C) without ties and with clear differences between samples and spheres.

    At equal values, of which a mapped cloud has many, contenders may choose other maxima and get other gradients.
    """
    spheres, vertices = size.num_spheres, num_vertices(size.level)
    strength = torch.rand(spheres, 1, size.batch, size.channels) ** 2
    return strength * torch.rand(spheres, vertices, size.batch, size.channels)


def settle_statistics(model: nn.Module, features: Tensor) -> None:
    """Give batch norm the statistics of these features, so that inference works with numbers of a usual size."""
    norms: list[Any] = [module for module in model.modules() if hasattr(module, "running_mean")]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().forward_grid(features)  # type: ignore[operator]
    for norm in norms:
        norm.momentum = 0.1


def compare(outputs: Mapping[str, Mapping[str, Tensor]], slack: float = 1.0) -> dict[str, float]:
    """Make sure that all contenders compute the same.

    Parameters
    ----------
    outputs
        What was built, by contender; the first is what the others are held to.
    slack
        Times `TOLERANCE` in float32.

    Returns
    -------
    dict
        For each contender but the first the largest relative difference to the first.

    Raises
    ------
    RuntimeError
        If a difference is too large.
    """
    (first, expected), *others = outputs.items()
    differences: dict[str, float] = {}
    for name, result in others:
        bf16 = CONTENDERS[name].bf16 or CONTENDERS[first].bf16
        for what, values in result.items():
            allowed = TOLERANCE["gradients" if what == "gradients" else "outputs", bf16] * (1.0 if bf16 else slack)
            wanted = expected[what].double()
            difference = float((values.double() - wanted).norm() / wanted.norm())
            if not difference <= allowed:
                raise RuntimeError(
                    f"{name} and {first} do not compute the same: the {what} differ by {difference:.2g} of their norm "
                    f"and {allowed} is allowed; nothing was timed"
                )
            differences[name] = max(difference, differences.get(name, 0.0))
    return differences


# Layer by layer

PIECES = ("intra", "radial", "norm", "pool", "block")


def pieces_of(size: Size) -> list[tuple[str, Layer]]:
    """List each kind of layer at each width of a model once; a block is that of the layer's level."""
    found: dict[tuple[Any, ...], tuple[str, Layer]] = {}
    for layer in layers(size):
        if layer.kind == "linear":
            continue
        kinds = [layer.kind, "norm", *(["pool", "block"] if layer.pooled else [])]
        for kind in kinds:
            inner = layer.inner if kind in ("intra", "radial") else 0
            found.setdefault((kind, layer.level, inner, layer.outer), (kind, layer))
    return sorted(found.values(), key=lambda item: PIECES.index(item[0]))


def piece_entry(piece: str, layer: Layer, contender: str, size: Size, device: str = "cpu") -> Entry:
    """Return the entry of one layer in the form of a contender."""
    options = {"piece": piece, "layer": layer, "contender": contender, "size": size, "device": device}
    optional = CONTENDERS[contender].compiled is not None
    return Entry(contender, build_piece, options, ("forward", "forward and backward"), optional=optional)


def build_piece(piece: str, layer: Layer, contender: str, size: Size, device: str = "cpu") -> Built:
    """Build one layer in the form of a contender: its forward pass, and forward and backward."""
    kind = CONTENDERS[contender]
    torch.manual_seed(0)
    grid = ConcentricGrid(size.level, size.num_spheres)
    module, structure, channels = _module(piece, layer, kind.form, size, grid)
    module.to(device)
    shape = (size.num_spheres, num_vertices(layer.level), size.batch, channels)
    features = torch.rand(shape).to(device).requires_grad_()

    def apply(given: Tensor) -> Tensor:
        result: Tensor = module(given) if structure is None else module(structure, given)
        return result

    function = apply if kind.compiled is None else compiled(apply, kind.compiled)

    def forward() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=kind.bf16):
            return function(features)

    result = forward()
    gradient = torch.randn(result.shape).to(result)

    def both() -> Tensor:
        features.grad = None
        module.zero_grad()
        result = forward()
        result.backward(gradient)
        return result

    result = both().detach()
    assert features.grad is not None
    outputs = {"outputs": _some(result), "gradients": _some(features.grad)}
    return Built({"forward": forward, "forward and backward": both}, outputs)


def _module(piece: str, layer: Layer, form: Any, size: Size, grid: ConcentricGrid) -> tuple[nn.Module, Any, int]:
    """Return the module of a piece, the graph it works on, and the channels of its input."""
    level = grid.levels[layer.level]
    if piece == "intra":
        return IntraSphereConv(layer.inner, layer.outer, form=form), level, layer.inner
    if piece == "radial":
        return RadialConv(layer.inner, layer.outer, layer.kernel_size, form=form), level, layer.inner
    if piece == "norm":
        return NormReLU(layer.outer), None, layer.outer
    if piece == "pool":
        reduction: Any = "max" if size.num_bins is None else "mean"
        return SpherePool(reduction, form=form), grid.steps[layer.level], layer.outer
    here = [other for other in layers(size) if other.kind != "linear" and other.level == layer.level]
    intra, radial = ([other.outer for other in here if other.kind == kind] for kind in ("intra", "radial"))
    inner = here[0].inner
    return ConcentricBlock(inner, intra, radial, max(other.kernel_size for other in here), form=form), level, inner


def _some(values: Tensor) -> Tensor:
    """Return about a thousand of the values, evenly chosen."""
    flat = values.flatten()
    return flat[:: max(len(flat) // 1000, 1)].float().cpu()
