"""What all models of the DOS have in common: sums over atoms, invariances, configs, refusals."""

import numpy as np
import pytest
import torch

from csgnn_dgl.mapping import find_environments
from csgnn_dgl.models import DOS_MODELS, DOSModel
from csgnn_dgl.models.dos.base import DOSOutput
from csgnn_dgl.nn import NormReLU
from tests.models.dos.molecules import CELL, CUTOFF, PERIODIC, batch, positions, small
from tests.tolerances import EXACT, ROUNDED, TOLERANCE

all_models = pytest.mark.parametrize("kind", DOS_MODELS)


def dos_of(model: DOSModel, places: np.ndarray, cell: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """DOS per atom (num_bins,) of one periodic structure."""
    environments = find_environments(places, cell, PERIODIC, CUTOFF, dtype)
    with torch.no_grad():
        return model(environments, torch.zeros(len(places), dtype=torch.int64), 1)[0]


@all_models
def test_the_dos_of_a_snapshot_is_the_mean_over_its_atoms(kind, dtype):
    model, (environments, _) = small(kind, dtype), batch(dtype)
    snapshot = torch.tensor([2, 0, 0, 1, 2, 2, 0, 1, 1, 0, 0, 0, 0, 2, 1, 0])
    atoms = model.atom_dos(environments)
    assert atoms.shape == (16, 9)
    assert atoms.dtype == dtype
    assert (atoms >= 0).all()
    assert (atoms > 0).any(dim=1).all()
    wanted = torch.stack([atoms[snapshot == number].mean(dim=0) for number in range(3)])
    torch.testing.assert_close(model(environments, snapshot, 3), wanted, **TOLERANCE[dtype])


@all_models
def test_the_order_of_the_atoms_changes_nothing(kind):
    model, places, order = small(kind), positions(8), np.random.default_rng(3).permutation(8)
    torch.testing.assert_close(
        dos_of(model, places[order], CELL), dos_of(model, places, CELL), **TOLERANCE[torch.float64]
    )


@all_models
def test_a_supercell_has_the_same_dos_per_atom(kind):
    model, places = small(kind), positions(5)
    repeated = np.concatenate([places + i * CELL[0] + j * CELL[1] for i in range(3) for j in range(2)])
    supercell = CELL * np.array([[3], [2], [1]])
    torch.testing.assert_close(
        dos_of(model, repeated, supercell), dos_of(model, places, CELL), **TOLERANCE[torch.float64]
    )
    sheared = CELL + np.array([[0], [2], [0]]) * CELL[0]
    torch.testing.assert_close(dos_of(model, places, sheared), dos_of(model, places, CELL), **TOLERANCE[torch.float64])


@all_models
def test_in_autocast_the_dos_is_float32(kind):
    model, (environments, snapshot) = small(kind, torch.float32), batch(torch.float32)
    exact = model(environments, snapshot, 3)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(environments, snapshot, 3)
        rounded.sum().backward()
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, **TOLERANCE[torch.bfloat16])


@all_models
def test_models_say_what_they_are_for(kind):
    model = DOS_MODELS[kind]()
    assert (model.cutoff, model.num_bins, model.elements) == (7.0, 310, (6,))
    assert small(kind, elements=[14]).elements == (14,)
    assert small(kind, num_bins=4).atom_dos(batch()[0]).shape == (16, 4)


@all_models
def test_wrong_arguments_are_refused(kind):
    with pytest.raises(ValueError, match="num_bins must be an integer of at least 1"):
        small(kind, num_bins=0)
    with pytest.raises(ValueError, match="cutoff must be a length in Å"):
        small(kind, cutoff=-1.0)
    with pytest.raises(ValueError, match="one atomic number"):
        small(kind, elements=(6, 1))
    with pytest.raises(ValueError, match="one atomic number"):
        small(kind, elements=(0,))


def test_snapshots_must_be_numbered_without_gaps():
    model, (environments, snapshot) = small("agni"), batch()
    with pytest.raises(ValueError, match="16 atoms need as many snapshots"):
        model(environments, snapshot[:-1], 3)
    with pytest.raises(ValueError, match="numbered from 0 to 3"):
        model(environments, snapshot, 4)
    with pytest.raises(ValueError, match="numbered from 0 to 1"):
        model(environments, snapshot, 2)


def test_the_output_is_the_formula_of_figure_7():
    torch.manual_seed(2)
    output, features = DOSOutput(5, 7).double().eval(), torch.randn(3, 5, dtype=torch.float64)
    torch.nn.init.normal_(output.smoothing.weight), torch.nn.init.normal_(output.norm.bias, 1)
    weight, bias = output.smoothing.weight[:, 0], output.smoothing.bias
    assert bias is not None
    scaled = (features @ output.bins.weight.T + output.bins.bias) / (1 + 1e-5) ** 0.5
    bins = torch.zeros(3, 9, dtype=torch.float64)
    bins[:, 1:-1] = (scaled * output.norm.weight + output.norm.bias).clamp(min=0)
    wanted = torch.zeros(3, 7, dtype=torch.float64)
    for channel in range(3):
        for energy in range(7):
            value = (bins[:, energy : energy + 3] * weight[channel]).sum(dim=1) + bias[channel]
            wanted[:, energy] += value.clamp(min=0) / 3
    torch.testing.assert_close(output(features), wanted, **EXACT)


@all_models
def test_an_untrained_model_may_start_from_the_mean_of_the_training_snapshots(kind):
    torch.manual_seed(3)
    model = DOS_MODELS[kind](cutoff=CUTOFF, num_bins=9).double().train()
    environments, snapshot = batch()
    reference = torch.rand(50, 9, dtype=torch.float64) * 0.01 + torch.linspace(0.2, 1, 9)
    model.start_from(reference)
    found, wanted = model(environments, snapshot, 3).mean(dim=0), reference.mean(dim=0)
    assert ((found - wanted).abs() < 0.2 * wanted + 0.05).all()  # the weights of the smoothing are drawn
    torch.testing.assert_close(model.output.norm.weight.data, reference.std(dim=0, correction=0), **EXACT)
    model.start_from(torch.ones(1, 9, dtype=torch.float64))
    assert torch.equal(model.output.norm.weight, torch.full((9,), 1e-3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"shape \(S, 9\)"):
        model.start_from(reference[:, :3])


@all_models
def test_an_untrained_model_moves_the_dos_along_its_principal_components(kind):
    torch.manual_seed(3)
    model = DOS_MODELS[kind](cutoff=CUTOFF, num_bins=40).double()
    before = model.output.bins.weight.detach().clone()
    # snapshots that differ in two ways, one four times as much as the other
    energies = torch.linspace(0, 1, 40, dtype=torch.float64)
    ways = torch.stack([torch.sin(7 * energies), torch.cos(11 * energies)])
    ways = torch.linalg.qr(ways.T)[0].T
    reference = 1 + torch.randn(200, 2, dtype=torch.float64) * torch.tensor([0.2, 0.05]) @ ways
    model.start_from(reference)
    rows = model.output.bins.weight.detach()
    torch.testing.assert_close(rows.norm(dim=1), before.norm(dim=1), **EXACT)
    scaled = rows / rows.norm(dim=1, keepdim=True) * model.output.norm.weight.detach()[:, None]
    # whatever the features are, the bins move within the plane of the two ways, but for the least weight of a bin
    away = scaled - ways.T @ (ways @ scaled)
    assert float(away.norm()) < 0.05 * float(scaled.norm())
    sizes = torch.linalg.svdvals(scaled)
    assert sizes[1] < 0.5 * sizes[0] and sizes[2] < 0.05 * sizes[0]
    again = DOS_MODELS[kind](cutoff=CUTOFF, num_bins=40).double()
    again.load_state_dict({**model.state_dict(), "output.bins.weight": before})
    again.start_from(reference)  # no draws: the same weights begin in the same place
    assert torch.equal(again.output.bins.weight, model.output.bins.weight)


def test_no_channel_of_the_output_starts_dead():
    for seed in range(20):
        torch.manual_seed(seed)
        output = DOSOutput(2, 5)
        bins = torch.rand(4, 1, 5)
        # each of three weights is a tenth off at most
        reach = 0.3 * torch.nn.functional.avg_pool1d(bins, 3, 1, 1) + ROUNDED["atol"]
        assert ((output.smoothing(bins) - bins).abs() <= reach).all()


@pytest.mark.parametrize("name", DOS_MODELS)
def test_running_averages_are_over_a_hundred_batches(name: str) -> None:
    norms = [module for module in small(name).modules() if isinstance(module, NormReLU)]
    assert norms and all(norm.momentum == 0.01 for norm in norms)
