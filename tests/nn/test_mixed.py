"""The layers on spheres of different levels: forms, the present layers where levels are equal, the 60 rotations."""

from typing import Any

import pytest
import torch

from csgnn_dgl import ConcentricGrid, IntraSphereConv, RadialConv, SpherePool
from csgnn_dgl.graphs import MixedLevel, MixedPooling
from csgnn_dgl.models import CSGNN, MixedCSGNN
from csgnn_dgl.nn.mixed import MixedIntraConv, MixedPool, MixedRadialConv
from csgnn_dgl.testing import assert_equivariant
from tests.graphs.test_mixed import LEVELS, turned
from tests.tolerances import TOLERANCE, assert_same_up_to_scale

MAKE = {
    "intra": lambda form: MixedIntraConv(3, 4, form=form),
    "radial": lambda form: MixedRadialConv(3, 4, kernel_size=5, form=form),
    "max": lambda form: MixedPool("max", form),
    "mean": lambda form: MixedPool("mean", form),
}
GRIDS: dict[str, Any] = {"intra": MixedLevel(LEVELS, 5), "radial": MixedLevel(LEVELS, 5)}
GRIDS |= {name: MixedPooling(LEVELS, 1) for name in ("max", "mean")}


def layer(name, form):
    torch.manual_seed(0)
    return MAKE[name](form).double()


@pytest.mark.parametrize("name", MAKE)
def test_all_forms_give_the_same_numbers_and_gradients(name):
    graph, found = GRIDS[name], {}
    for form in ("reference", "fast", "auto"):
        module = layer(name, form)
        features = torch.randn(12 + 2 * 162 + 42, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        output = module(graph, features.requires_grad_())
        (output * torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)).sum().backward()
        found[form] = [output, features.grad, *(parameter.grad for parameter in module.parameters())]
    for form in ("fast", "auto"):
        for one, other in zip(found[form], found["reference"], strict=True):
            assert_same_up_to_scale(one.detach(), other.detach())


@pytest.mark.parametrize("name", MAKE)
def test_layers_turn_with_the_60_rotations(name):
    module, graph = layer(name, "auto"), GRIDS[name]
    features = torch.randn(12 + 2 * 162 + 42, 1, 3, dtype=torch.float64)
    output = module(graph, features)
    after = getattr(graph, "pooled", LEVELS)
    for rotation in range(60):
        before, moved = torch.empty_like(features), torch.empty_like(output)
        before[turned(LEVELS, rotation)] = features
        moved[turned(after, rotation)] = output
        torch.testing.assert_close(module(graph, before), moved, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_levels_are_the_present_layers(dtype):
    grid, mixed, step = ConcentricGrid(2, 3, 3), MixedLevel([2] * 3, 3), MixedPooling([2] * 3, 1)
    features = torch.randn(3, 162, 2, 4, dtype=dtype)
    for plain, other in ((IntraSphereConv(4, 6), MixedIntraConv(4, 6)), (RadialConv(4, 6), MixedRadialConv(4, 6))):
        other.load_state_dict(plain.state_dict())
        found = other.to(dtype)(mixed, features.flatten(0, 1))
        torch.testing.assert_close(found, plain.to(dtype)(grid.levels[2], features).flatten(0, 1), **TOLERANCE[dtype])
    pooled = SpherePool()(grid.steps[2], features).flatten(0, 1)
    assert torch.equal(MixedPool()(step, features.flatten(0, 1)), pooled)


@pytest.mark.parametrize("mapping", ["prism", "shell"])
def test_a_classifier_of_equal_levels_is_csgnn(mapping):
    shared = {"level": 2, "num_spheres": 3, "channels": 2, "base_width": 1, "mapping": mapping, "num_classes": 5}
    torch.manual_seed(0)
    plain = CSGNN(**shared, num_points=64).double().eval()
    mixed = MixedCSGNN(**shared, levels=[2, 2, 2]).double().eval()
    weights = plain.state_dict()
    mixed.load_state_dict({name.replace("encoder.blocks", "stages"): value for name, value in weights.items()})
    points = torch.randn(2, 64, 3, dtype=torch.float64)
    torch.testing.assert_close(mixed(points), plain(points), **TOLERANCE[torch.float64])


def test_a_classifier_of_mixed_levels_is_invariant_under_the_60():
    torch.manual_seed(0)
    model = MixedCSGNN(level=2, num_spheres=4, channels=2, base_width=1, num_classes=5).double().eval()
    assert [grid.levels for grid in model.grids] == [(0, 1, 2, 2), (0, 1, 1, 1), (0, 0, 0, 0)]
    assert_equivariant(model, torch.randn(2, 64, 3, dtype=torch.float64), outputs_are="invariant")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MixedIntraConv(3, 4)(GRIDS["intra"], torch.zeros(5, 1, 3)), "\\(nodes, B, C\\) = \\(378, B, 3\\)"),
        (lambda: MixedRadialConv(3, 4, 9)(MixedLevel([1] * 9), torch.zeros(378, 1, 3)), "make it with kernel_size=9"),
        (lambda: MixedRadialConv(3, 4, form="compiled")(GRIDS["radial"], torch.zeros(378, 1, 3)), "has no kernel"),
        (lambda: MixedPool()(GRIDS["max"], torch.zeros(5, 1, 3)), "\\(378, B, C\\)"),
        (
            lambda: MixedCSGNN(level=2, num_spheres=2, levels=[1, 1]),
            "levels are \\[1, 1\\] for 2 spheres",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
