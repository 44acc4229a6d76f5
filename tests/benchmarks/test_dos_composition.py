from typing import Any

import pytest
import torch

from benchmarks.composition import to_composition
from benchmarks.contenders import draw_environments
from benchmarks.dos_composition import DOSComposition
from csgnn_dgl.models import CSGNNDOS
from tests.models.dos.molecules import batch, small
from tests.tolerances import TOLERANCE


def pairs_of_gradients(model, composition):
    """The gradients of the weights of the two, in the layout of the composition's."""
    for block, parts in zip(model.encoder.blocks, composition.blocks, strict=True):
        convolutions, norms = [*block.intra, *block.radial], [*block.intra_norms, *block.radial_norms]
        for conv, norm, part in zip(convolutions, norms, parts, strict=True):
            if conv.weight.dim() == 3:
                yield conv.weight.grad[0].T, part.conv.weight.grad.flatten(1)
            else:
                yield conv.weight.grad, part.conv.conv.weight.grad
            yield norm.weight.grad, part.norm.weight.grad
            yield norm.bias.grad, part.norm.bias.grad
    for name in ("dense", "output"):
        modules = getattr(model, name), getattr(composition, name)
        for one, other in zip(*(module.parameters() for module in modules), strict=True):
            yield one.grad, other.grad


@pytest.mark.parametrize("num_spheres", [1, 2])
@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("linear", [False, True])
def test_the_composition_is_the_model_in_outputs_and_gradients(linear, level, num_spheres):
    model: Any = small("csgnn", level=level, num_spheres=num_spheres, kernel_size=1)
    composition = DOSComposition(model, linear)
    features = model.mapping(batch()[0])
    for training in (False, True):
        outputs = []
        for module, forward, given in (
            (model, model.forward_grid, features),
            (composition, composition, to_composition(features)),
        ):
            module.train(training)
            module.zero_grad()
            outputs.append(forward(given))
            (outputs[-1] - 1).square().sum().backward()
        torch.testing.assert_close(*outputs, **TOLERANCE[torch.float64])
        for one, other in pairs_of_gradients(model, composition):
            scale = max(float(one.abs().max()), 1.0)
            torch.testing.assert_close(one / scale, other / scale, **TOLERANCE[torch.float64])
    for (name, one), (_, other) in zip(model.output.named_buffers(), composition.output.named_buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize("option", [{"self_loop": False}, {"num_spheres": 2}])
def test_other_models_are_refused(option):
    with pytest.raises(ValueError, match="the composition is for models with"):
        DOSComposition(CSGNNDOS(level=0, channels=1, base_width=1, **option))


def test_drawn_environments_lie_within_the_cutoff_and_differ_in_their_neighbours():
    environments = draw_environments(4, cutoff=5.0)
    distances = environments.vectors.norm(dim=1)
    assert float(distances.min()) >= 1.2 - 1e-5
    assert float(distances.max()) <= 5.0 + 1e-5
    assert torch.bincount(environments.centre).tolist() == [25, 100, 175, 250]
    # as many neighbours in the inner half of the volume as in the outer one
    assert float(distances.median()) == pytest.approx(((1.2**3 + 5.0**3) / 2) ** (1 / 3), rel=0.05)
