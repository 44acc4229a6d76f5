"""Edge convolution against loops over the edges, in all forms, in training and evaluation."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn import PointEdgeConv, without_observing
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops.neighbourhoods import Neighbourhoods
from csgnn_dgl.nn.ops.points import nearest
from tests.forms import FORMS
from tests.tolerances import TOLERANCE, assert_same_up_to_scale


def layer(dtype: torch.dtype = torch.float64, form: Form = "auto") -> PointEdgeConv:
    """A layer whose norm has scales of either sign, and running averages that are not those of a fresh one."""
    torch.manual_seed(1)
    made = PointEdgeConv(4, 9, form=form).to(dtype)
    with torch.no_grad():
        made.norm.weight.normal_(), made.norm.bias.normal_()
    made.norm.running_mean.normal_(0, 0.1), made.norm.running_var.uniform_(0.5, 1.5)
    assert (made.norm.weight < 0).any() and (made.norm.weight > 0).any()
    return made


def inputs(dtype: torch.dtype = torch.float64, size: int = 30, count: int = 6) -> tuple[Tensor, Tensor]:
    features = torch.randn(3, size, 4, dtype=dtype)
    return features, nearest(features, features, count)


def edge_by_edge(made: PointEdgeConv, features: np.ndarray, neighbours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What every edge gives before the norm, (B, N, K, F), and the output, by plain loops."""
    weight = made.linear.weight.detach().numpy()
    edges = np.empty((*neighbours.shape, len(weight)))
    for cloud, point, place in np.ndindex(neighbours.shape):
        own, other = features[cloud, point], features[cloud, neighbours[cloud, point, place]]
        edges[cloud, point, place] = weight @ np.concatenate([other - own, own])
    norm = made.norm
    if made.training:
        mean, variance = edges.mean(axis=(0, 1, 2)), edges.var(axis=(0, 1, 2))
    else:
        mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    normal = (edges - mean) / np.sqrt(variance + norm.eps) * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    return edges, np.where(normal > 0, normal, 0.2 * normal).max(axis=2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_it_is_what_loops_over_the_edges_compute(form: Form, training: bool) -> None:
    made, (features, neighbours) = layer(form=form).train(training), inputs()
    edges, wanted = edge_by_edge(made, features.numpy(), neighbours.numpy())
    mean, variance = made.norm.running_mean.clone(), made.norm.running_var.clone()
    torch.testing.assert_close(made(features, neighbours), torch.from_numpy(wanted), **TOLERANCE[torch.float64])
    if training:  # the first batch is the average
        rows = torch.from_numpy(edges).flatten(0, 2)
        mean, variance = rows.mean(dim=0), rows.var(dim=0)
    torch.testing.assert_close(made.norm.running_mean, mean, **TOLERANCE[torch.float64])
    torch.testing.assert_close(made.norm.running_var, variance, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("training", [True, False])
def test_all_forms_agree_in_outputs_and_gradients(training: bool, dtype: torch.dtype) -> None:
    features, neighbours = inputs(dtype)
    seed, outcomes = torch.randn(3, 30, 9, dtype=dtype), []
    for form in FORMS:
        made, x = layer(dtype, form).train(training), features.clone().requires_grad_()
        output = made(x, neighbours)
        output.backward(seed)
        outcomes.append([output.detach(), x.grad, *(parameter.grad for parameter in made.parameters())])
    for outcome in outcomes[1:]:
        for found, wanted in zip(outcome, outcomes[0], strict=True):
            assert_same_up_to_scale(found, wanted)


def test_compiled_in_training_it_computes_the_same() -> None:
    torch.compiler.reset()
    features, neighbours = inputs()
    one = layer()
    other = copy.deepcopy(one)
    found = torch.compile(one, backend="aot_eager", fullgraph=True)(features, neighbours)
    torch.testing.assert_close(found, other(features, neighbours), **TOLERANCE[torch.float64])
    assert_same_up_to_scale(one.norm.running_var, other.norm.running_var)


def test_moments_keep_their_digits_where_edges_are_short_beside_the_cloud() -> None:
    made, (features, _) = layer(torch.float32), inputs(torch.float32, size=500)
    with torch.no_grad():
        made.linear.weight[:, 4:] = 0  # nothing but differences
        features = features / features.norm(dim=2, keepdim=True)
        neighbours = nearest(features, features, 4)
        found, wanted = made(features, neighbours), copy.deepcopy(made).double()(features.double(), neighbours)
    assert_same_up_to_scale(found, wanted.float())


def test_averages_stay_where_nothing_is_observed() -> None:
    made, before = layer(), layer().state_dict()
    with without_observing(made):
        made(*inputs())
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_one_edge_in_all_is_refused_in_training() -> None:
    with pytest.raises(ValueError, match="more than one observation"):
        layer()(torch.randn(1, 1, 4, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.int64))


def test_features_in_bfloat16_are_measured_in_float32() -> None:
    made, (features, neighbours) = layer(torch.float32), inputs(torch.float32)
    wanted = made(features, neighbours)
    with torch.autocast("cpu", torch.bfloat16):
        found = made(features, neighbours)
    torch.testing.assert_close(found.float(), wanted, **TOLERANCE[torch.bfloat16])


def test_neighbourhoods_say_who_reads_whom() -> None:
    _, neighbours = inputs()
    tables = Neighbourhoods.of(neighbours)
    read = {
        (cloud * 30 + point, cloud * 30 + int(other), place)
        for cloud in range(3)
        for point in range(30)
        for place, other in enumerate(neighbours[cloud, point])
    }
    forth = {
        (target, int(tables.sources[edge]), edge - int(tables.offsets[target]))
        for target in range(90)
        for edge in range(int(tables.offsets[target]), int(tables.offsets[target + 1]))
    }
    back = {
        (int(tables.targets[edge]), source, int(tables.places[edge]))
        for source in range(90)
        for edge in range(int(tables.reverse_offsets[source]), int(tables.reverse_offsets[source + 1]))
    }
    assert read == forth == back
    assert tables.times_read.tolist() == [sum(other == source for _, other, _ in read) for source in range(90)]
