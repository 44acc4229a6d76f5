"""Who is compared: the same model, weights and inputs in several forms; and each of its layers by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch._dynamo
import torch._inductor.config
from torch import Tensor, nn

from benchmarks.composition import Composition, to_composition
from benchmarks.harness import Built, Entry
from benchmarks.sizes import SIZES, Size, blocks_of, new_model, num_vertices, outline
from csgnn_dgl.mapping import Environments
from csgnn_dgl.nn import NormReLU

MODES = ("training", "inference")


class Kind(NamedTuple):
    """How a contender is made: the `form` of the package's layers, or the options of a `Composition`."""

    description: str
    form: Any = "auto"
    bf16: bool = False
    keep_blocks: bool = True
    library: str | None = None  # of the composition; None: it is the package's model
    linear: bool = False
    compiled: str | None = None  # the mode of torch.compile


AS_IS: dict[str, Any] = {"library": "dgl", "keep_blocks": False}
CONTENDERS = {
    "auto": Kind("the package as it comes, float32"),
    "auto-bf16": Kind("the same under bfloat16 autocast", bf16=True),
    "fast": Kind("the package's form in torch alone, float32", "fast"),
    "inductor": Kind("that through torch.compile", "fast", compiled="default"),
    "inductor-bf16": Kind("the same under bfloat16 autocast", "fast", bf16=True, compiled="default"),
    "inductor-graphs": Kind("the same in CUDA graphs", "fast", bf16=True, compiled="reduce-overhead"),
    "reference": Kind("the package's DGL message passing, float32", "reference"),
    "composition": Kind("dgl.nn.GraphConv, permute, Conv1d, permute, index pooling, float32", library="dgl"),
    "composition-as-is": Kind("the same under the system's own allocator, as a user gets it", **AS_IS),
    "composition-linear": Kind("that with nn.Linear as the 1x1 convolution, of a DOS", **AS_IS, linear=True),
    "composition-torch": Kind("the composition without dgl, on any device", library="torch"),
}


def usual(size_name: str) -> list[str]:
    """Return the contenders at a size if none are named: at small ones also slow forms, and what is compiled long."""
    small = ["fast", "inductor", "reference"] if size_name in ("tiny", "small") else []
    linear = [] if SIZES[size_name].num_bins is None else ["composition-linear"]
    return ["auto", "auto-bf16", *small, "composition", "composition-as-is", *linear]


TOLERANCE = {"outputs": (1e-3, 0.2), "gradients": (0.05, 0.7)}
"""Largest ‖a - b‖ / ‖b‖, in float32 and in bfloat16; wrong results differ by about 1.

Gradients of a network that was only just drawn hang on which of nearly equal features is the maximum: rounding changes
one choice in a million in float32 and one in a hundred in bfloat16. Torch's batch norm, which adds up all rows in
float32, is off by 1e-3 with the 160,000 rows of the size ``dos``. The tests compare the contenders in float64.
"""


class Contender:
    """A model with its optimiser, inputs and targets, which hang on the size alone.

    It begins with features on the grid, or with `clouds` in the memory of the host. A training step accumulates as many
    `parts`. If it is not to be `compared`, batch norm is left without statistics of the inputs.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        compared: bool = True,
        device: str = "cpu",
        clouds: bool = False,
        parts: int = 1,
        recompute: bool = False,
    ) -> None:
        kind = CONTENDERS[name]
        self.bf16, self.device, self.parts = kind.bf16, device, parts
        torch.manual_seed(0)
        model = new_model(size, recompute=recompute)
        self.criterion: Callable[[Tensor, Tensor], Tensor]
        if size.num_bins is not None:
            self.inputs, self.samples = model.mapping(draw_environments(size.batch, model.cutoff)).to(device), 2
            self.targets = torch.rand(size.batch, size.num_bins).to(device)
            self.criterion = nn.functional.mse_loss
        else:
            self.inputs, self.samples = (draw_clouds(size.batch), 0) if clouds else (draw_features(size).to(device), 2)
            self.targets = torch.randint(size.num_classes, (size.batch,)).to(device)
            self.criterion = nn.functional.cross_entropy
        model.to(device)
        if compared:
            settle_statistics(model, self.inputs)
        if kind.form != "auto":
            state, model = model.state_dict(), new_model(size, form=kind.form, recompute=recompute).to(device)
            model.load_state_dict(state)
        self.mapping = model.mapping if clouds else None
        self.model: nn.Module = model
        self.forward: Callable[[Tensor], Tensor] = model.forward_grid
        if kind.library is not None:
            self.inputs, self.samples = to_composition(self.inputs), 1
            self.forward = self.model = Composition(model, kind.library, kind.linear).to(device)
        if kind.compiled is not None:
            self.forward = compiled(self.forward, kind.compiled)
        self.probe = next(part for part in self.model.modules() if isinstance(part, NormReLU | nn.BatchNorm1d)).weight
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def predict(self, inputs: Tensor) -> Tensor:
        """Compute the model's outputs, in float32."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            if self.mapping is not None:
                with torch.no_grad():
                    inputs = self.mapping(inputs.to(self.device))
            return self.forward(inputs).float()

    def training(self) -> None:
        """Do one training step: forward, loss, backward, Adam."""
        self.model.train()
        self.optimiser.zero_grad()
        for inputs, targets in zip(
            self.inputs.chunk(self.parts, self.samples), self.targets.chunk(self.parts), strict=True
        ):
            (self.criterion(self.predict(inputs), targets) / self.parts).backward()
        self.optimiser.step()

    def inference(self) -> None:
        """Compute the outputs of the batch as one would after training."""
        self.model.eval()
        with torch.inference_mode():
            self.predict(self.inputs)

    def outputs(self) -> dict[str, Tensor]:
        """Return what must agree: the outputs in evaluation and training, and the first batch norm's gradient."""
        self.model.eval()
        with torch.inference_mode():
            found = {"outputs at inference": self.predict(self.inputs).flatten().cpu()}
        self.model.train()
        torch.manual_seed(0)  # the same dropout
        outputs = self.predict(self.inputs)
        self.optimiser.zero_grad()
        self.criterion(outputs, self.targets).backward()
        assert self.probe.grad is not None
        found |= {"outputs in training": outputs.detach().flatten().cpu(), "gradients": self.probe.grad.cpu()}
        self.optimiser.zero_grad()
        return found


def build(contender: str, size: Size, compared: bool = True, **options: Any) -> Built:
    """Build a contender in its process."""
    made = Contender(contender, size, compared, **options)
    actions = {"training": made.training, "inference": made.inference}
    if not compared and CONTENDERS[contender].compiled:  # what cannot be compiled is noticed here
        for action in actions.values():
            action()
    return Built(actions, made.outputs() if compared else {})


def entry_of(
    contender: str, size: Size, name: str = "", builder: Callable[..., Built] = build, **options: Any
) -> Entry:
    """Return the entry of a contender at a size, or of what else is built in its form."""
    kind = CONTENDERS[contender]
    given = {"contender": contender, "size": size, **options}
    return Entry(name or contender, builder, given, kind.keep_blocks, optional=kind.compiled is not None)


def compiled(function: Callable[..., Tensor], mode: str) -> Callable[..., Tensor]:
    """Return a function through ``torch.compile``, in one piece and for one shape."""
    torch._dynamo.config.recompile_limit = 64  # one piece of code serves many contenders and layers
    torch._inductor.config.fallback_random = True  # the same dropout as the others
    made: Callable[..., Tensor] = torch.compile(function, fullgraph=True, dynamic=False, mode=mode)
    if mode == "default":
        return made

    def step(*arguments: Any) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return made(*arguments)

    return step


def draw_environments(count: int, cutoff: float) -> Environments:
    """Draw environments of 25 to 250 neighbours (carbon has the most), evenly between 1.2 Å and the cutoff."""
    centre = torch.arange(count).repeat_interleave(torch.linspace(25, 250, count).long())
    directions = nn.functional.normalize(torch.randn(len(centre), 3))
    inner, outer = 1.2**3, cutoff**3
    distances = (inner + (outer - inner) * torch.rand(len(centre), 1)).pow(1 / 3)
    return Environments(directions * distances, centre, torch.zeros_like(centre), count)


def draw_clouds(batch: int, num_points: int = 1024) -> Tensor:
    """Draw clouds (B, N, 3) whose largest norm is 1."""
    clouds = torch.randn(batch, num_points, 3)
    return clouds / clouds.norm(dim=-1).amax(dim=-1)[:, None, None]


def draw_features(size: Size) -> Tensor:
    """Draw features (R, V, B, C) without ties and with clear differences between samples and spheres.

    At equal values, of which a mapped cloud has many, contenders may choose other maxima and get other gradients.
    """
    strength = torch.rand(size.num_spheres, 1, size.batch, size.channels) ** 2
    return strength * torch.rand(size.num_spheres, num_vertices(size.level), size.batch, size.channels)


def settle_statistics(model: Any, features: Tensor) -> None:
    """Give batch norm the statistics of these features, so that inference works with numbers of a usual size."""
    norms: list[Any] = [module for module in model.modules() if hasattr(module, "running_mean")]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().forward_grid(features)
    for norm in norms:
        norm.momentum = 0.1


def compare(outputs: Mapping[str, Mapping[str, Tensor]], slack: float = 1.0) -> dict[str, float]:
    """Make sure that all contenders compute what the first does, within `slack` times `TOLERANCE` in float32.

    Returns for each of the others the largest difference; raises a RuntimeError where one is too large.
    """
    (first, expected), *others = outputs.items()
    differences: dict[str, float] = {}
    for name, result in others:
        bf16 = CONTENDERS[name].bf16 or CONTENDERS[first].bf16
        for what, values in result.items():
            allowed = TOLERANCE["gradients" if what == "gradients" else "outputs"][bf16] * (1.0 if bf16 else slack)
            wanted = expected[what].double()
            difference = float((values.double() - wanted).norm() / wanted.norm())
            if not difference <= allowed:
                raise RuntimeError(
                    f"{name} and {first} do not compute the same: the {what} differ by {difference:.2g} of their norm "
                    f"and {allowed} is allowed; nothing was timed"
                )
            differences[name] = max(difference, differences.get(name, 0.0))
    return differences


def pieces_of(size: Size) -> dict[str, tuple[int, str]]:
    """List each kind of layer at each width of a model once: after how many poolings, and where in its block it is."""
    found: dict[str, tuple[int, str]] = {}
    for depth, block in enumerate(blocks_of(outline(size))):
        level = f"level {size.level - depth}"
        for kind in ("intra", "radial"):
            for index, conv in enumerate(getattr(block, kind)):
                inner, outer = conv.weight.shape[-2:]
                found.setdefault(f"{level}: {kind} {inner} -> {outer}", (depth, f"{kind}.{index}"))
                found.setdefault(f"{level}: norm {outer}", (depth, f"{kind}_norms.{index}"))
        if depth < size.level:
            found[f"{level}: pool {block.out_channels}"] = (depth, "pool")
        found[f"{level}: block {block.out_channels}"] = (depth, "")
    return found


def build_piece(place: tuple[int, str], contender: str, size: Size, device: str = "cpu") -> Built:
    """Build one layer in the form of a contender: its forward pass, and forward and backward."""
    kind, (depth, name) = CONTENDERS[contender], place
    torch.manual_seed(0)
    encoder = new_model(size, form=kind.form).to(device).encoder
    level, block = size.level - depth, encoder.blocks[depth]
    graph, module = [encoder.grid.levels[level]], block.get_submodule("" if name == "pool" else name)
    if name == "pool":
        graph, module, channels = [encoder.grid.steps[level]], encoder.pool, block.out_channels
    elif isinstance(module, NormReLU):
        graph, channels = [], len(module.weight)
    else:
        channels = module.in_channels
    shape = (size.num_spheres, num_vertices(level), size.batch, channels)
    features = torch.rand(shape).to(device).requires_grad_()

    def apply(given: Tensor) -> Tensor:
        result: Tensor = module(*graph, given)
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
    results = {"outputs": result, "gradients": features.grad}
    some = {what: values.flatten()[:: max(values.numel() // 1000, 1)].float().cpu() for what, values in results.items()}
    return Built({"forward": forward, "forward and backward": both}, some)
