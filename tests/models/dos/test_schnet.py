"""SchNet against a dense computation that goes through all atoms and periodic images."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from csgnn_dgl.mapping import Environments, find_environments
from csgnn_dgl.models import SchNet
from csgnn_dgl.models.dos.schnet import Pairs, ShiftedSoftplus, _Messages
from tests.models.dos.molecules import CELL, CUTOFF, PERIODIC, batch, crystal, positions, small
from tests.tolerances import EXACT, NUMERIC, TOLERANCE, assert_same_up_to_scale


def dense_dos(model: Any, places: np.ndarray, cell: np.ndarray) -> Tensor:
    """DOS (N, num_bins) of a structure that is periodic along a and b, atom by atom and image by image."""
    images = [i * cell[0] + j * cell[1] for i, j in itertools.product(range(-3, 4), repeat=2)]
    count, softplus = len(places), lambda x: torch.log(0.5 * torch.exp(x) + 0.5)
    step = CUTOFF / (model.num_gaussians - 1)
    x = torch.stack([model.embedding] * count)
    for interaction in model.interactions:
        new = []
        for i in range(count):
            total = torch.zeros(interaction.before.out_features, dtype=torch.float64)
            for j, image in itertools.product(range(count), images):
                d = float(np.linalg.norm(places[j] + image - places[i]))
                if not 0 < d < CUTOFF:
                    continue
                gaussians = [math.exp(-0.5 * ((d - k * step) / step) ** 2) for k in range(model.num_gaussians)]
                first, _, second = interaction.filters
                filters = second(softplus(first(torch.tensor(gaussians, dtype=torch.float64))))
                fading = 0.5 * (math.cos(math.pi * d / CUTOFF) + 1)
                total = total + interaction.before(x[j]) * filters * fading
            first, _, second = interaction.after
            new.append(x[i] + second(softplus(first(total))))
        x = torch.stack(new)
    return model.output(softplus(model.readout[0](x)))


def test_the_model_is_what_plain_loops_compute_and_so_are_its_gradients() -> None:
    model, places = small("schnet").train(), positions(4)
    wanted = dense_dos(model, places, CELL)
    got = model.atom_dos(find_environments(places, CELL, PERIODIC, CUTOFF, torch.float64))
    torch.testing.assert_close(got, wanted, **TOLERANCE[torch.float64])
    # a bias before a norm has no gradient but rounding
    parameters = [p for name, p in model.named_parameters() if name != "output.bins.bias"]
    gradients = [torch.autograd.grad(dos.cumsum(dim=1).square().sum(), parameters) for dos in (got, wanted)]
    for one, other in zip(*gradients, strict=True):
        assert_same_up_to_scale(one, other)


def test_messages_can_be_differentiated_twice() -> None:
    pairs = Pairs.of(crystal(3))
    features = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    filters = torch.randn(len(pairs.first), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda *tensors: _Messages.apply(*tensors, pairs), (features, filters), **NUMERIC
    )


def test_a_loss_on_the_gradient_of_the_positions_reaches_the_weights() -> None:
    model, found = small("schnet"), crystal(4)
    weights = []
    for dense in (False, True):
        model.zero_grad()
        vectors = found.vectors.clone().requires_grad_()
        moved = Environments(vectors, found.centre, found.neighbour, len(found))
        if dense:  # the same sums over pairs as rows of a matrix
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_Messages, "apply", _dense_messages)
                dos = model.atom_dos(moved)
        else:
            dos = model.atom_dos(moved)
        (forces,) = torch.autograd.grad(dos.square().sum(), vectors, create_graph=True)
        forces.square().sum().backward()
        weights.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert weights[0].keys() == weights[1].keys() and "interactions.0.filters.0.weight" in weights[0]
    for name, wanted in weights[1].items():
        assert_same_up_to_scale(weights[0][name], wanted)


def _dense_messages(features: Tensor, filters: Tensor, pairs: Pairs) -> Tensor:
    count = len(features)
    to_first = torch.nn.functional.one_hot(pairs.first, count).to(features.dtype)
    to_second = torch.nn.functional.one_hot(pairs.second, count).to(features.dtype)
    return to_first.T @ (to_second @ features * filters) + to_second.T @ (to_first @ features * filters)


def test_each_pair_is_taken_once() -> None:
    environments, _ = batch()
    pairs = Pairs.of(environments)
    assert 2 * len(pairs.first) == len(environments.vectors)
    rows = torch.stack([environments.centre, environments.neighbour]).T.tolist()
    lengths = torch.linalg.vector_norm(environments.vectors, dim=1).tolist()
    both = [*zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True)]
    both += [(second, first, distance) for first, second, distance in both]
    assert sorted(both) == sorted((*row, d) for row, d in zip(rows, lengths, strict=True))


def test_pairs_within_an_atoms_own_images_are_taken_once() -> None:
    environments = find_environments([[0.1, 0.2, 0.3]], np.eye(3) * 1.5, True, 3.1, torch.float64)
    pairs = Pairs.of(environments)
    assert 2 * len(pairs.first) == len(environments.vectors) == 32
    features, filters = torch.randn(1, 2, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
    torch.testing.assert_close(pairs.collect(features, filters), 2 * features * filters.sum(dim=0), **EXACT)


def test_environments_of_some_atoms_of_a_snapshot_are_refused() -> None:
    model, environments = small("schnet"), crystal(5)
    with pytest.raises(ValueError, match="whole snapshots"):
        model.atom_dos(environments.chunk(0, 3))
    half = environments.centre <= environments.neighbour
    one_way = Environments(environments.vectors[half], environments.centre[half], environments.neighbour[half], 5)
    with pytest.raises(ValueError, match="every pair in both directions"):
        model.atom_dos(one_way)


def test_lonely_atoms_have_a_dos_too() -> None:
    lonely = find_environments(np.array([[0, 0, 0], [50.0, 0, 0]]), cutoff=CUTOFF, dtype=torch.float64)
    dos = small("schnet").atom_dos(lonely)
    assert dos.isfinite().all()
    assert torch.equal(dos[0], dos[1])


def test_the_activation_is_zero_at_zero() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(ShiftedSoftplus()(x), ((1 + x.exp()) / 2).log(), **EXACT)


def test_the_number_of_parameters_is_near_the_published_976_thousand() -> None:
    assert sum(p.numel() for p in SchNet().parameters()) == 976_830


@pytest.mark.parametrize(
    "arguments", [{"num_features": 0}, {"num_filters": 0}, {"num_interactions": 0}, {"num_gaussians": 1}, {"hidden": 0}]
)
def test_wrong_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SchNet(**arguments)
