import pytest
import torch

from benchmarks.composition import Composition, to_composition
from csgnn_dgl.models import CSGNN
from tests.tolerances import TOLERANCE


@pytest.fixture(params=["dgl", "pyg"])
def library(request):
    if request.param == "pyg":
        pytest.importorskip("torch_geometric")
    return request.param


def pairs_of_weights(model, composition):
    """The weight gradients of the two, in the layout of the composition's."""
    for block, parts in zip(model.encoder.blocks, composition.blocks, strict=True):
        layers = [
            *zip(block.intra, block.intra_norms, strict=True),
            *zip(block.radial, block.radial_norms, strict=True),
        ]
        for (conv, norm), part in zip(layers, parts, strict=True):
            gradient = conv.weight.grad
            if gradient.dim() == 3:
                yield gradient.permute(2, 1, 0), part.conv.weight.grad
            elif hasattr(part.conv, "linear"):
                yield gradient.T, part.conv.linear.weight.grad
            else:
                yield gradient, part.conv.conv.weight.grad
            yield norm.weight.grad, part.norm.weight.grad
            yield norm.bias.grad, part.norm.bias.grad
    for one, other in zip(model.head.parameters(), composition.head.parameters(), strict=True):
        yield one.grad, other.grad


@pytest.mark.parametrize("level", [0, 2])
def test_the_composition_is_the_model_in_outputs_and_gradients(level, library):
    model = CSGNN(level=level, num_spheres=3, channels=2, num_classes=4, base_width=1).double()
    model.train()
    model.forward_grid(torch.rand(3, 10 * 4**level + 2, 5, 2, dtype=torch.float64))  # statistics of some kind
    composition = Composition(model, library)
    features = torch.randn(3, 10 * 4**level + 2, 5, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    for training in (False, True):
        logits = []
        for module, forward, given in (
            (model, model.forward_grid, features),
            (composition, composition, to_composition(features)),
        ):
            module.train(training)
            module.zero_grad()
            torch.manual_seed(3)
            logits.append(forward(given))
            torch.nn.functional.cross_entropy(logits[-1], labels).backward()
        torch.testing.assert_close(logits[0], logits[1], **TOLERANCE[torch.float64])
        for one, other in pairs_of_weights(model, composition):
            torch.testing.assert_close(one, other, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("option", [{"self_loop": False}, {"kernel_size": 1}, {"pooling": "mean"}])
def test_other_models_are_refused(option):
    with pytest.raises(ValueError, match="the composition is for models with"):
        Composition(CSGNN(level=0, num_spheres=2, channels=1, num_classes=2, base_width=1, **option))
