from typing import Any

import pytest
import torch

from benchmarks.composition import Composition, to_composition
from benchmarks.sizes import blocks_of
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN, CSGNNDOS
from tests.models.dos.molecules import batch, small
from tests.tolerances import TOLERANCE


def pairs_of_gradients(model: Any, composition: Any) -> Any:
    """The gradients of the weights of the two, in the layout of the model's."""
    for block, parts in zip(blocks_of(model), composition.blocks, strict=True):
        convolutions, norms = [*block.intra, *block.radial], [*block.intra_norms, *block.radial_norms]
        for conv, norm, part in zip(convolutions, norms, parts, strict=True):
            (weight,) = (found for name, found in part.conv.named_parameters() if name.endswith("weight"))
            gradient = weight.grad
            if gradient.dim() == 3:  # Conv1d (F, C, K)
                gradient = gradient.permute(2, 1, 0)
            elif type(part.conv).__name__ != "DGLConv":  # Linear (F, C)
                gradient = gradient.T
            yield conv.weight.grad.reshape(gradient.shape), gradient
            yield norm.weight.grad, part.norm.weight.grad
            yield norm.bias.grad, part.norm.bias.grad
    head = [model.head] if isinstance(model, CSGNN) else [model.dense, model.output]
    ours = [parameter for part in head for parameter in part.parameters()]
    for one, other in zip(ours, composition.head.parameters(), strict=True):
        yield one.grad, other.grad


def compare(model: Any, composition: Any, features: torch.Tensor) -> None:
    """Hold outputs and gradients to each other, in evaluation and in training."""
    for training in (False, True):
        outputs = []
        for module, forward, given in (
            (model, model.forward_grid, features),
            (composition, composition, to_composition(features)),
        ):
            module.train(training)
            module.zero_grad()
            torch.manual_seed(3)  # the same dropout
            outputs.append(forward(given))
            (outputs[-1] - 1).square().sum().backward()
        torch.testing.assert_close(*outputs, **TOLERANCE[torch.float64])
        for one, other in pairs_of_gradients(model, composition):
            scale = max(float(one.abs().max()), 1.0)
            torch.testing.assert_close(one / scale, other / scale, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("library", ["dgl", "torch"])
@pytest.mark.parametrize("level", [0, 2])
def test_the_composition_is_the_classifier_in_outputs_and_gradients(level, library):
    model = CSGNN(level=level, num_spheres=3, channels=2, num_classes=4, base_width=1).double()
    model.train()
    shape = (3, 10 * 4**level + 2, 5, 2)
    model.forward_grid(torch.rand(shape, dtype=torch.float64))  # statistics of some kind
    compare(model, Composition(model, library), torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("num_spheres", [1, 2])
@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("linear", [False, True])
def test_the_composition_is_the_model_of_the_dos_in_outputs_and_gradients(linear, level, num_spheres):
    model: Any = small("csgnn", level=level, num_spheres=num_spheres, kernel_size=1)
    composition = Composition(model, linear=linear)
    compare(model, composition, model.mapping(batch()[0]))
    buffers = composition.head[1].named_buffers()
    for (name, one), (_, other) in zip(model.output.named_buffers(), buffers, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE[torch.float64], msg=name)


def test_other_models_are_refused():
    options: dict[str, Any] = {"level": 0, "num_spheres": 2, "channels": 1, "base_width": 1}
    for model in (CSGNN(**options, self_loop=False), CSGNN(**options, pooling="mean")):
        with pytest.raises(InputError, match="the composition is for models with self-loops and maximum pooling"):
            Composition(model)
    with pytest.raises(InputError, match=r"nn\.Linear stands for radial kernels of size 1 only"):
        Composition(CSGNNDOS(**options), linear=True)
