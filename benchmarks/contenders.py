"""The contenders: the same model, weights and inputs in several forms; one training step and one inference of each."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.composition import Composition, to_composition
from benchmarks.dos_composition import DOSComposition
from benchmarks.sizes import SIZES, Size, num_vertices
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import Environments
from csgnn_dgl.models import CSGNN, CSGNNDOS


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a contender is made, and under which settings of the C library's allocator it runs."""

    description: str
    form: str
    bf16: bool = False
    keep_blocks: bool = True


CONTENDERS = {
    "auto": Kind("the package as it comes, float32", "auto"),
    "auto-bf16": Kind("the same under bfloat16 autocast", "auto", bf16=True),
    "fast": Kind("the package's form in torch alone, float32", "fast"),
    "reference": Kind("the package's DGL message passing, float32", "reference"),
    "composition": Kind("dgl.nn.GraphConv, permute, Conv1d, permute, index pooling, float32", "dgl"),
    "composition-as-is": Kind("the same under the system's own allocator, as a user gets it", "dgl", keep_blocks=False),
    "composition-linear": Kind("that with nn.Linear as the 1x1 convolution, of a DOS", "dgl-linear", keep_blocks=False),
    "pyg": Kind("the composition with torch_geometric's convolution", "pyg"),
}


def usual(size_name: str) -> list[str]:
    """Return the contenders at a size if none are named; the package's slower forms only at the smallest sizes."""
    left_out = {"pyg"} if size_name in ("tiny", "small") else {"pyg", "fast", "reference"}
    if SIZES[size_name].num_bins is None:
        left_out.add("composition-linear")
    return [name for name in CONTENDERS if name not in left_out]


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


def kind_of(name: str) -> Kind:
    """Return what a name stands for.

    Raises
    ------
    InputError
        If there is no such contender, or torch_geometric is asked for and missing.
    """
    if name not in CONTENDERS:
        raise InputError(f"there is no contender {name!r}; choose among {', '.join(CONTENDERS)}")
    if name == "pyg" and importlib.util.find_spec("torch_geometric") is None:
        raise InputError("the contender pyg needs torch_geometric: run `pip install torch_geometric` or leave it out")
    return CONTENDERS[name]


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
    """

    def __init__(self, name: str, size: Size, settle: bool = True) -> None:
        kind = kind_of(name)
        torch.manual_seed(0)
        self.criterion: Callable[[Tensor, Tensor], Tensor]
        base = new_model(size)
        if isinstance(base, CSGNNDOS):
            features = base.mapping(draw_environments(size.batch, base.cutoff))
            self.targets = torch.rand(size.batch, base.num_bins)
            self.criterion = nn.functional.mse_loss
        else:
            features = draw_features(size)
            self.targets = torch.randint(size.num_classes, (size.batch,))
            self.criterion = nn.functional.cross_entropy
        if settle:
            settle_statistics(base, features)
        self.bf16 = kind.bf16
        self.features = features
        self.model: CSGNN | CSGNNDOS | Composition | DOSComposition
        self.forward: Callable[[Tensor], Tensor]
        if kind.form in ("dgl", "dgl-linear", "pyg"):
            self.features = to_composition(features)
            self.forward = self.model = compose(base, kind.form)
            self.probe = self.model.get_parameter("blocks.0.0.norm.weight")
        else:
            self.model = new_model(size, form=kind.form)
            self.model.load_state_dict(base.state_dict())
            self.forward = self.model.forward_grid
            self.probe = self.model.get_parameter("encoder.blocks.0.intra_norms.0.weight")
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def predict(self) -> Tensor:
        """Compute the model's outputs, in float32."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
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

    def outputs(self, training: bool) -> dict[str, list[float]]:
        """Return what must agree between contenders.

        These are the outputs and, if it is about `training`, those in training and the gradient of the weight of the
        first batch norm.
        """
        self.model.eval()
        with torch.inference_mode():
            found = {"outputs at inference": self.predict().flatten().tolist()}
        if not training:
            return found
        self.model.train()
        torch.manual_seed(0)  # the same dropout
        outputs = self.predict()
        self.optimiser.zero_grad()
        self.criterion(outputs, self.targets).backward()
        assert self.probe.grad is not None
        found["outputs in training"] = outputs.detach().flatten().tolist()
        found["gradients"] = self.probe.grad.tolist()
        self.optimiser.zero_grad()
        return found


def new_model(size: Size, **options: Any) -> CSGNN | CSGNNDOS:
    """Return a new model of a size."""
    made = CSGNN if size.num_bins is None else CSGNNDOS
    return made(**size.model_options(), **options)


def compose(model: CSGNN | CSGNNDOS, library: str) -> Composition | DOSComposition:
    """Return the composition of a model with the convolution of a library.

    Raises
    ------
    InputError
        If there is none.
    """
    if isinstance(model, CSGNN) and library != "dgl-linear":
        return Composition(model, library)
    if isinstance(model, CSGNNDOS) and library != "pyg":
        return DOSComposition(model, linear=library == "dgl-linear")
    raise InputError(f"there is no composition of {type(model).__name__} with {library}; leave it out")


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


def compare(outputs: Mapping[str, Mapping[str, list[float]]], slack: float = 1.0) -> dict[str, float]:
    """Make sure that all contenders compute the same.

    Parameters
    ----------
    outputs
        What `Contender.outputs` gave, by name.

    Returns
    -------
    dict
        For each contender but the first the largest relative difference to the first.

    Raises
    ------
    RuntimeError
        If a difference is beyond `TOLERANCE`, in float32 times `slack`.
    """
    (first, expected), *others = outputs.items()
    differences: dict[str, float] = {}
    for name, result in others:
        bf16 = CONTENDERS[name].bf16 or CONTENDERS[first].bf16
        for what, values in result.items():
            allowed = TOLERANCE["gradients" if what == "gradients" else "outputs", bf16] * (1.0 if bf16 else slack)
            wanted = torch.tensor(expected[what])
            difference = float((torch.tensor(values) - wanted).norm() / wanted.norm())
            if not difference <= allowed:
                raise RuntimeError(
                    f"{name} and {first} do not compute the same: the {what} differ by {difference:.2g} of their norm "
                    f"and {allowed} is allowed; nothing was timed"
                )
            differences[name] = max(difference, differences.get(name, 0.0))
    return differences


def make(
    contender: str, size: dict[str, Any], modes: list[str]
) -> tuple[dict[str, Any], dict[str, Callable[[], None]]]:
    """Build a contender for a worker: its outputs, and the actions that can be timed."""
    built = Contender(contender, Size(**size))
    return {"outputs": built.outputs("training" in modes)}, {"training": built.training, "inference": built.inference}
