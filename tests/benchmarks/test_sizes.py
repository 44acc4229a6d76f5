import dataclasses

import pytest
import torch

from benchmarks.sizes import SIZES, Size, count_macs, count_parameters, layers, new_model, num_vertices
from csgnn_dgl.models import CSGNNDOS


@pytest.mark.parametrize(("level", "thousands"), [(3, 70), (4, 78), (5, 85)])
def test_with_many_spheres_the_paper_s_model_does_as_many_macs_per_grid_point_as_it_is_known_to(level, thousands):
    size = Size(level=level, num_spheres=10**6, channels=8, base_width=4, batch=3)
    per_point = count_macs(size) / (3 * 10**6 * num_vertices(level))
    assert round(per_point / 1000) == thousands


@pytest.mark.parametrize("size", [SIZES["tiny"], dataclasses.replace(SIZES["small"], num_spheres=1, batch=2)])
def test_macs_and_parameters_are_those_of_the_model(size):
    model = new_model(size, form="reference").eval()
    assert count_parameters(size) == sum(parameter.numel() for parameter in model.parameters())
    # Every product of the model sees each input channel of each row: the numbers of rows come from the features.
    found = []

    def note(module, given, result):
        features = given[-1]
        if hasattr(module, "kernel_size"):
            rows = [features[: len(features) - abs(k - 1)].numel() for k in range(3)]
            found.append(sum(rows) * result.shape[-1])
        else:
            found.append(features.numel() * result.shape[-1])

    for name, module in model.named_modules():
        if ".intra." in name or ".radial." in name or isinstance(module, torch.nn.Linear):
            module.register_forward_hook(note)
    shape = (size.num_spheres, num_vertices(size.level), size.batch, size.channels)
    with torch.no_grad():
        model.forward_grid(torch.rand(shape))
    assert found == [layer.macs for layer in layers(size)]
    assert sum(found) == count_macs(size)


@pytest.mark.parametrize("num_spheres", [1, 2])
def test_macs_and_parameters_of_the_model_of_the_dos(num_spheres):
    size = Size(level=2, num_spheres=num_spheres, channels=3, base_width=1, batch=4, num_bins=6)
    model = new_model(size, form="reference").eval()
    assert isinstance(model, CSGNNDOS)
    smoothing = sum(parameter.numel() for parameter in model.output.smoothing.parameters())
    assert smoothing == 12
    assert count_parameters(size) == sum(parameter.numel() for parameter in model.parameters())
    found = []

    def note(module, given, result):
        features = given[-1]
        taps = range(-(module.kernel_size // 2), module.kernel_size // 2 + 1) if hasattr(module, "kernel_size") else [0]
        found.append(sum(features[: len(features) - abs(tap)].numel() for tap in taps) * result.shape[-1])

    for name, module in model.named_modules():
        if ".intra." in name or ".radial." in name or isinstance(module, torch.nn.Linear):
            module.register_forward_hook(note)
    with torch.no_grad():
        model.forward_grid(torch.rand(num_spheres, num_vertices(2), 4, 3))
    assert found == [layer.macs for layer in layers(size)]


def test_the_dos_size_is_the_paper_s_model():
    assert count_parameters(SIZES["dos"]) == 1_061_998
    assert (SIZES["dos"].sample, SIZES["paper"].sample) == ("environment", "sample")


def test_pooled_shares_and_first_layer():
    found = list(layers(SIZES["small"]))
    assert [layer.first for layer in found].index(True) == 0
    assert sum(layer.first for layer in found) == 1
    assert [layer.pooled for layer in found if layer.pooled] == [162 / 642, 42 / 162, 12 / 42]
    assert found[0].taps == [8 * 642 * 32]
    assert found[2].taps == [7 * 642 * 32, 8 * 642 * 32, 7 * 642 * 32]
