"""What every model promises, checked on all that are registered and on two modules from outside the package."""

import copy
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from csgnn_dgl.geometry import icosahedral_rotations, random_rotations
from csgnn_dgl.mapping import Environments
from csgnn_dgl.models import CLASSIFIERS, DOS_MODELS, Model, Registry
from csgnn_dgl.nn import Norm
from csgnn_dgl.testing import rotate_points
from tests.models.dos.molecules import CUTOFF, batch
from tests.tolerances import TOLERANCE, assert_same_up_to_scale


class Case(ABC):
    """A kind of models with inputs for them: three samples."""

    def __init__(self, registry: Registry[Any], name: str, **shared: Any) -> None:
        self.registry, self.name = registry, name
        self.kind = registry.find(name)
        self.config = {**getattr(self.kind, "tiny", {}), **shared}
        self.symmetry = getattr(self.kind, "symmetry", "none")

    def model(self, dtype: torch.dtype = torch.float32) -> Any:
        """A small model in evaluation mode, with running averages that are not those of a fresh one."""
        torch.manual_seed(1)
        model = self.registry.build(self.name, **self.config).to(dtype)
        for module in model.modules():
            if isinstance(module, (Norm, nn.modules.batchnorm._BatchNorm)):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
        return model.eval()

    @abstractmethod
    def inputs(self, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        """What the model is called with, for three samples."""

    @abstractmethod
    def alone(self, inputs: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """The same for each sample by itself."""

    @abstractmethod
    def rotated(self, inputs: tuple[Any, ...], rotation: np.ndarray) -> tuple[Any, ...]:
        """The same with all samples turned."""


class Clouds(Case):
    num_outputs = 5

    def __init__(self, name: str) -> None:
        super().__init__(CLASSIFIERS, name, num_classes=5)

    def inputs(self, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (torch.randn(3, 64, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype),)

    def alone(self, inputs: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        return ((points[None],) for points in inputs[0])

    def rotated(self, inputs: tuple[Any, ...], rotation: np.ndarray) -> tuple[Any, ...]:
        return (rotate_points(inputs[0], rotation),)


class Snapshots(Case):
    num_outputs = 9

    def __init__(self, name: str) -> None:
        super().__init__(DOS_MODELS, name, num_bins=9, cutoff=CUTOFF)

    def inputs(self, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        return (*batch(dtype), 3)

    def alone(self, inputs: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        environments, snapshot, count = inputs
        for number in range(count):
            first, last = (snapshot == number).nonzero()[[0, -1], 0].tolist()
            part = environments.chunk(first, last + 1)
            own = Environments(part.vectors, part.centre, part.neighbour - first, len(part))
            yield own, torch.zeros(len(part), dtype=torch.int64), 1

    def rotated(self, inputs: tuple[Any, ...], rotation: np.ndarray) -> tuple[Any, ...]:
        return (inputs[0].rotated(torch.tensor(rotation)), *inputs[1:])


CASES: Sequence[Case] = [
    *(Clouds(name) for name in (*CLASSIFIERS, "tests.models.toys.Bag")),
    *(Snapshots(name) for name in (*DOS_MODELS, "tests.models.toys.Counting")),
]
every = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.registry.task}-{case.name}")


@every
def test_there_is_a_finite_answer_for_each_sample(case: Any, dtype: torch.dtype) -> None:
    found = case.model(dtype)(*case.inputs(dtype))
    assert found.shape == (3, case.num_outputs)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert found.std(dim=0).max() > 0  # not the same for all samples


@every
def test_the_same_seed_makes_the_same_model_and_answers_do_not_change(case: Case) -> None:
    one, other, inputs = case.model(), case.model(), case.inputs()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert torch.equal(one(*inputs), other(*inputs))
    assert torch.equal(one(*inputs), one(*inputs))


@every
def test_a_training_step_is_the_same_bits_again(case: Case) -> None:
    found = []
    for _ in range(2):
        model = case.model().train()
        torch.manual_seed(5)  # of dropout
        model(*case.inputs()).square().sum().backward()
        found.append([*(parameter.grad for parameter in model.parameters()), *model.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@every
def test_a_sample_is_answered_alike_alone_and_in_company(case: Case, dtype: torch.dtype) -> None:
    model, inputs = case.model(dtype), case.inputs(dtype)
    together = model(*inputs)
    for number, own in enumerate(case.alone(inputs)):
        torch.testing.assert_close(model(*own)[0], together[number], **TOLERANCE[dtype])


@every
def test_declared_rotations_change_nothing(case: Case, dtype: torch.dtype) -> None:
    model, inputs = case.model(dtype), case.inputs(dtype)
    rotations = {
        "none": np.eye(3)[None],
        "icosahedral": icosahedral_rotations(),
        "SO3": random_rotations(20, np.random.default_rng(0)),
    }[case.symmetry]
    with torch.no_grad():
        wanted = model(*inputs)
        for rotation in rotations:
            torch.testing.assert_close(model(*case.rotated(inputs, rotation)), wanted, **TOLERANCE[dtype])


@every
def test_the_gradient_reaches_every_parameter(case: Case) -> None:
    model = case.model().train()
    model(*case.inputs()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@every
def test_a_config_makes_the_same_model_again(case: Case) -> None:
    model = case.model()
    assert {**model.config, **case.config} == model.config
    again = case.registry.build(case.registry.name_of(type(model)), **json.loads(json.dumps(model.config)))
    assert type(again) is type(model) is case.kind
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    inputs = case.inputs()
    for twin in (again.eval(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.config == model.config
        assert torch.equal(twin(*inputs), model(*inputs))


@every
def test_a_checkpoint_gives_the_model_back(case: Case, tmp_path: Path) -> None:
    model = case.model()
    case.registry.write(tmp_path / "checkpoints" / "best.ckpt", model, class_names=("a", "b"))
    places = (tmp_path, tmp_path / "checkpoints" / "best.ckpt")
    found = [case.registry.load(place) for place in places]
    if issubclass(case.kind, Model):
        found += [case.kind.from_checkpoint(place) for place in places]
    for again in found:
        assert type(again) is case.kind and not again.training
        assert again.config == model.config
        assert again.class_names == ("a", "b")
        assert torch.equal(again(*case.inputs()), model(*case.inputs()))


@every
def test_a_loaded_model_learns(case: Case, tmp_path: Path) -> None:
    case.registry.write(tmp_path / "model.ckpt", case.model())
    model: Any = case.registry.load(tmp_path / "model.ckpt").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses: list[Tensor] = []
    for _ in range(20):
        optimizer.zero_grad()
        torch.manual_seed(5)
        losses.append((model(*case.inputs()) - 0.5).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@every
def test_compiled_by_torch_a_model_answers_alike(case: Case) -> None:
    torch.compiler.reset()
    model, inputs = case.model(), case.inputs()
    with torch.no_grad():
        found = torch.compile(model, backend="eager")(*inputs)
    torch.testing.assert_close(found, model(*inputs), **TOLERANCE[torch.float32])


class OnGrid(nn.Module):
    """What a model makes of features on the grid, as a module."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> Tensor:
        return self.model.forward_grid(features)


def exportable(case: Case) -> tuple[nn.Module, Tensor, int]:
    """What of a model is to be compiled whole and exported, an input of it, and the axis of the batch."""
    model = case.model()
    if not hasattr(case.kind, "forward_grid"):
        return model, case.inputs()[0], 0
    grid = model.encoder.grid
    shape = (grid.num_spheres, grid.levels[-1].num_vertices, 3, model.config["channels"])
    return OnGrid(model), torch.rand(shape), 2


QUICK = ("csgnn",)  # compiling takes seconds; the others when slow tests are asked for
whole = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in QUICK and isinstance(case, Clouds) else pytest.mark.slow)
        for case in CASES
        if getattr(case.kind, "one_graph", isinstance(case, Clouds)) or hasattr(case.kind, "forward_grid")
    ],
    ids=lambda case: f"{case.registry.task}-{case.name}",
)


@whole
def test_classifiers_and_what_works_on_the_grid_are_one_graph(case: Case) -> None:
    torch.compiler.reset()
    module, inputs, _ = exportable(case)
    found = []
    for function in (module, torch.compile(module, backend="aot_eager", fullgraph=True)):
        module.zero_grad()
        result = function(inputs)
        result.square().sum().backward()
        found.append([result.detach(), *(p.grad for p in module.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        assert_same_up_to_scale(other, one)


@whole
def test_they_can_be_exported_for_batches_of_any_size(case: Case) -> None:
    module, inputs, axis = exportable(case)
    program = torch.export.export(module, (inputs,), dynamic_shapes=({axis: torch.export.Dim("batch", min=2)},))
    for size in (3, 5):
        samples = torch.cat([inputs, inputs], dim=axis).narrow(axis, 0, size)
        torch.testing.assert_close(program.module()(samples), module(samples), **TOLERANCE[torch.float32])
