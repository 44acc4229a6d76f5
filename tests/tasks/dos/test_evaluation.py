from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from csgnn_dgl.data import Snapshots, carbon_snapshots, load_snapshots
from csgnn_dgl.electronic import PAPER_GRID
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import find_environments
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.tasks.dos import DOSData
from csgnn_dgl.tasks.dos.comparison import side_by_side
from csgnn_dgl.tasks.dos.evaluation import (
    BATCH_ATOMS,
    CHEMICAL_ACCURACY,
    MEAN_ROW,
    Prediction,
    mean_prediction,
    predict,
    predict_atoms,
    score,
)
from csgnn_dgl.tasks.dos.figures import dos_figure, first_of_each, parity_figure
from csgnn_dgl.tasks.dos.report import report, tables
from tests.tolerances import EXACT, TOLERANCE, approx, printed
from tests.toy_snapshots import NETWORKS, STRUCTURES, band_energy_by_hand


@pytest.fixture(scope="module")
def snapshots(snapshots_folder):
    return load_snapshots(snapshots_folder, "test")


@pytest.fixture(scope="module")
def prediction(snapshots):
    """Each DOS shifted by some bins and scaled, so that errors are large and different."""
    rng = np.random.default_rng(0)
    reference = snapshots.dos_per_atom
    shifted = [np.roll(row, shift) for row, shift in zip(reference, rng.integers(-3, 4, len(reference)), strict=True)]
    return Prediction("shifted", torch.from_numpy(np.array(shifted) * 1.01), num_parameters=7)


def test_scores_are_those_of_an_independent_computation(snapshots, prediction):
    result = score(prediction, snapshots)
    band, level, dos, filled, moved = [], [], [], [], []
    for found, item in zip(prediction.dos_per_atom.numpy(), snapshots, strict=True):
        wanted = item.dos / item.num_atoms
        (found_energy, found_level), (wanted_energy, wanted_level) = (
            band_energy_by_hand(x, 4.0) for x in (found, wanted)
        )
        band.append(abs(found_energy - wanted_energy))
        level.append(abs(found_level - wanted_level))
        dos.append(np.sqrt(((found - wanted) ** 2).mean()))
        filled.append(np.sqrt((((np.cumsum(found) - np.cumsum(wanted)) * 0.1) ** 2).mean()))
        moved.append(wasserstein_distance(PAPER_GRID.centres, PAPER_GRID.centres, found, wanted))
    assert result.band_energy_mae == approx(np.mean(band), **EXACT)
    assert result.fermi_level_mae == approx(np.mean(level), **EXACT)
    assert result.dos_per_atom_rmse == approx(np.mean(dos), **EXACT)
    assert result.fdos_per_atom_rmse == approx(np.mean(filled), **EXACT)
    assert result.wasserstein == approx(np.mean(moved), **EXACT)
    assert (result.name, result.num_parameters, result.num_snapshots) == ("shifted", 7, 9)
    assert [item.structure for item in result.structures] == list(STRUCTURES)
    for item in result.structures:
        own = [error for error, name in zip(band, snapshots.structures, strict=True) if name == item.structure]
        assert item.num_snapshots == 3
        assert item.band_energy_mae == approx(np.mean(own), **EXACT)
    assert result.snapshots_within == sum(error <= CHEMICAL_ACCURACY for error in band)


def test_a_perfect_prediction_is_within_chemical_accuracy_everywhere(snapshots):
    result = score(Prediction("it", torch.from_numpy(snapshots.dos_per_atom)), snapshots)
    assert result.band_energy_mae == approx(0, **EXACT)
    assert (result.structures_within, result.snapshots_within) == (3, 9)


def test_an_empty_prediction_is_named(snapshots):
    dos = torch.ones(9, 310)
    dos[4] = 0
    with pytest.raises(InputError, match=r"some predicts a DOS for .*test.extxyz: snapshot 4 that is empty"):
        score(Prediction("some", dos), snapshots)


@pytest.mark.slow
def test_the_training_means_of_the_built_in_data_are_the_published_reference_point():
    """0.0355 eV/atom and 0.0197 eV: the data card. The Fermi level of the mean DOS is not the mean Fermi level."""
    train, test = carbon_snapshots("train"), carbon_snapshots("test")
    result = score(mean_prediction(train, test), test)
    assert result.name == MEAN_ROW
    assert result.band_energy_mae == approx(0.0355, **printed(4))
    assert result.fermi_level_mae == approx(0.0202, **printed(4))
    names = np.array(train.structures)
    levels = np.array([item.fermi_level for item in train])
    means = {name: levels[names == name].mean() for name in set(names)}
    assert np.mean([abs(means[item.structure] - item.fermi_level) for item in test]) == approx(0.0197, **printed(4))


@pytest.mark.parametrize("kind", NETWORKS)
def test_predicting_together_is_predicting_one_by_one(snapshots, kind, monkeypatch):
    network = DOS_MODELS[kind](**NETWORKS[kind]).eval()
    monkeypatch.setattr("csgnn_dgl.tasks.dos.evaluation.BATCH_ATOMS", 5)
    found = list(predict_atoms(network, snapshots.environments(network.cutoff)))
    assert len(found) == len(snapshots) < BATCH_ATOMS
    for dos, item in zip(found, snapshots, strict=True):
        with torch.no_grad():
            single = network.atom_dos(find_environments(item.positions, item.cell, item.pbc))
        assert dos.shape == (item.num_atoms, 310)
        torch.testing.assert_close(dos, single, **TOLERANCE[torch.float32])


@pytest.fixture
def tested(snapshots_folder, snapshots):
    """Make what a tested module has, as if it had been trained on the toy data."""

    def make(kind="agni", seed=0, **options):
        torch.manual_seed(seed)
        data = DOSData(**{"source": snapshots_folder, **options})
        network = DOS_MODELS[kind](**NETWORKS[kind])
        torch.nn.init.uniform_(network.output.norm.bias)
        own = Snapshots(tuple(item for item in snapshots if data.holdout in (None, item.structure)))
        predictions = [predict("", network, own), mean_prediction(load_snapshots(snapshots_folder, "train"), own)]
        return SimpleNamespace(data=data, network=network, snapshots=own, predictions=predictions)

    return make


def test_several_models_are_compared_on_the_same_snapshots(tested, snapshots):
    modules = {"one": tested("agni"), "two": tested("csgnn")}
    predictions, found = side_by_side(modules)
    assert [item.name for item in predictions] == ["one", "two", MEAN_ROW]
    assert [item.index for item in found] == [item.index for item in snapshots]
    for module, prediction in zip(modules.values(), predictions, strict=False):
        assert torch.equal(prediction.dos_per_atom, module.predictions[0].dos_per_atom)
    assert torch.equal(predictions[2].dos_per_atom, modules["one"].predictions[1].dos_per_atom)


def test_models_that_did_not_see_a_structure_make_one_row(tested, snapshots):
    modules = {f"without {name}": tested("agni", seed, holdout=name) for seed, name in enumerate(STRUCTURES)}
    predictions, found = side_by_side(modules)
    assert [item.name for item in predictions] == ["without chain", MEAN_ROW]
    assert found.structures == snapshots.structures
    for module, name in zip(modules.values(), STRUCTURES, strict=True):
        own = torch.from_numpy(np.array(found.structures) == name)
        assert torch.equal(predictions[0].dos_per_atom[own], module.predictions[0].dos_per_atom)


def test_the_mean_is_called_what_it_is(tested, snapshots):
    """Of structures that training had none of, it is that over all training snapshots."""
    names = np.array(snapshots.structures)
    train = load_snapshots(tested().data.source, "train")
    chains = train.subset(np.flatnonzero(np.array(train.structures) == "chain"))
    dimers = snapshots.subset(np.flatnonzero(names == "dimer"))
    assert mean_prediction(train, dimers).name == "training mean"
    assert mean_prediction(chains, snapshots).name == "training or overall mean"
    overall = mean_prediction(chains, dimers)
    assert overall.name == "overall mean"
    assert np.allclose(overall.dos_per_atom, chains.dos_per_atom.mean(axis=0), **EXACT)
    held_out = {name: tested(holdout=name) for name in ("chain", "dimer")}
    for module in held_out.values():
        module.predictions[1] = mean_prediction(module.data.all_snapshots("train"), module.snapshots)
    assert [item.name for item in side_by_side(held_out)[0]] == ["chain", "overall mean"]
    held_out["dimer"].predictions[1] = mean_prediction(train, held_out["dimer"].snapshots)
    assert side_by_side(held_out)[0][1].name == "training or overall mean"


def test_without_training_data_there_is_no_mean(tested, caplog):
    modules = {"one": tested("agni"), "two": tested("csgnn")}
    for module in modules.values():
        del module.predictions[1]
    assert [item.name for item in side_by_side(modules)[0]] == ["one", "two"]
    section = report(modules)
    assert [row["name"] for row in section.values] == ["one", "two"]
    (told,) = caplog.messages
    assert told.endswith("has no training snapshots, so that their mean, the row to beat, is left out")
    assert section.figures.keys() == {"dos.png", "parity.png"}


def test_runs_that_do_not_fit_each_other_are_refused(tested):
    one, two = tested(), tested(offset=1.0)
    with pytest.raises(InputError, match=r"two was trained with data.offset = 1.0 and one with 0.0; compare runs on"):
        side_by_side({"one": one, "two": two})
    with pytest.raises(InputError, match="again is there twice"):
        side_by_side({"one": tested(holdout="dimer"), "again": tested(holdout="dimer")})
    with pytest.raises(InputError, match=r"two has runs with data.holdout dimer and others have None"):
        side_by_side({"one": one, "two": tested(holdout="dimer")})


def test_the_report_has_tables_rows_and_figures(tested, snapshots, prediction):
    perfect = Prediction("perfect", torch.from_numpy(snapshots.dos_per_atom))
    scores = [score(item, snapshots) for item in (prediction, perfect)]
    lines = tables(scores).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == ["shifted", "7", f"{scores[0].band_energy_mae:.4f}", "0 of 3", f"{scores[0].snapshots_within} of 9"]
    assert lines[3].startswith("| perfect | –          | 0.0000 ")
    assert any(line.startswith("| dimer ") for line in lines)
    module = tested()
    section = report({"one": module})
    assert [row["name"] for row in section.values] == ["one", MEAN_ROW]
    assert section.values[0]["band_energy_mae"] == score(module.predictions[0], snapshots).band_energy_mae
    assert section.figures.keys() == {"dos.png", "parity.png"}


def test_figures_have_a_panel_for_each_snapshot_and_structure(snapshots, prediction):
    assert first_of_each(snapshots) == [0, 3, 6]
    figure = dos_figure([prediction], snapshots, [0, 3, 6, 7, 8])
    assert [axes.get_title() for axes in figure.axes] == ["chain", "dimer", "square", "square", "square"]
    assert np.array_equal(figure.axes[1].lines[0].get_ydata(), prediction.dos_per_atom[3])
    assert [axes.get_title() for axes in parity_figure([prediction], snapshots).axes] == list(STRUCTURES)
