import json

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from csgnn_dgl.data import carbon_snapshots, load_snapshots
from csgnn_dgl.electronic import PAPER_GRID
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import find_environments
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.tasks.dos.comparison import compare_models
from csgnn_dgl.tasks.dos.evaluation import (
    BATCH_ATOMS,
    CHEMICAL_ACCURACY,
    MEAN_ROW,
    Prediction,
    mean_prediction,
    predict,
    predict_atoms,
    score_dos,
)
from csgnn_dgl.tasks.dos.figures import dos_figure, first_of_each, parity_figure
from csgnn_dgl.tasks.dos.report import dos_tables, write_dos_results
from csgnn_dgl.tasks.dos.trained import TrainedDOS
from tests.tolerances import TOLERANCE
from tests.toy_snapshots import NETWORKS, STRUCTURES, write_snapshots

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(write_snapshots(tmp_path_factory.mktemp("snapshots") / "data"))


@pytest.fixture(scope="module")
def snapshots(source):
    return load_snapshots(source, "test")


@pytest.fixture(scope="module")
def prediction(snapshots):
    """Each DOS shifted by some bins and scaled, so that errors are large and different."""
    rng = np.random.default_rng(0)
    reference = snapshots.dos_per_atom
    shifted = [np.roll(row, shift) for row, shift in zip(reference, rng.integers(-3, 4, len(reference)), strict=True)]
    return Prediction("shifted", torch.from_numpy(np.array(shifted) * 1.01), num_parameters=7)


def integrate(dos, electrons):
    """Fermi level and band energy by integrating on a grid that is a thousand times finer."""
    fine = np.repeat(dos, 1000)
    energies = -30 + 1e-4 * (np.arange(len(fine)) + 0.5)
    last = int(np.searchsorted(np.cumsum(fine) * 1e-4, electrons))
    return energies[last], (fine[: last + 1] * energies[: last + 1]).sum() * 1e-4


def test_scores_are_those_of_an_independent_computation(snapshots, prediction):
    score = score_dos(prediction, snapshots)
    band, level, dos, filled, moved = [], [], [], [], []
    for found, item in zip(prediction.dos_per_atom.numpy(), snapshots, strict=True):
        wanted = item.dos / item.num_atoms
        (found_level, found_energy), (wanted_level, wanted_energy) = integrate(found, 4.0), integrate(wanted, 4.0)
        band.append(abs(found_energy - wanted_energy))
        level.append(abs(found_level - wanted_level))
        dos.append(np.sqrt(((found - wanted) ** 2).mean()))
        filled.append(np.sqrt((((np.cumsum(found) - np.cumsum(wanted)) * 0.1) ** 2).mean()))
        moved.append(wasserstein_distance(PAPER_GRID.centres, PAPER_GRID.centres, found, wanted))
    assert score.band_energy_mae == pytest.approx(np.mean(band), abs=2e-3)
    assert score.fermi_level_mae == pytest.approx(np.mean(level), abs=2e-4)
    assert score.dos_per_atom_rmse == pytest.approx(np.mean(dos), rel=1e-9)
    assert score.fdos_per_atom_rmse == pytest.approx(np.mean(filled), rel=1e-9)
    assert score.wasserstein == pytest.approx(np.mean(moved), rel=1e-2, abs=1e-3)
    assert (score.name, score.num_parameters, score.num_snapshots) == ("shifted", 7, 9)
    assert [item.structure for item in score.structures] == list(STRUCTURES)
    for item in score.structures:
        own = [error for error, name in zip(band, snapshots.structures, strict=True) if name == item.structure]
        assert item.num_snapshots == 3
        assert item.band_energy_mae == pytest.approx(np.mean(own), abs=2e-3)
    assert score.snapshots_within == sum(error <= CHEMICAL_ACCURACY for error in band)


def test_a_perfect_prediction_is_within_chemical_accuracy_everywhere(snapshots):
    score = score_dos(Prediction("it", torch.from_numpy(snapshots.dos_per_atom)), snapshots)
    assert score.band_energy_mae == pytest.approx(0, abs=1e-9)
    assert (score.structures_within, score.snapshots_within) == (3, 9)


def test_an_empty_prediction_is_named(snapshots):
    dos = torch.ones(9, 310)
    dos[4] = 0
    with pytest.raises(InputError, match=r"some predicts a DOS for .*test.extxyz: snapshot 4 that is empty"):
        score_dos(Prediction("some", dos), snapshots)


def test_the_training_means_of_the_built_in_data_are_the_published_reference_point():
    """0.0355 eV/atom and 0.0197 eV: the data card. The Fermi level of the mean DOS is not the mean Fermi level."""
    train, test = carbon_snapshots("train"), carbon_snapshots("test")
    score = score_dos(mean_prediction(train, test), test)
    assert score.name == MEAN_ROW
    assert score.band_energy_mae == pytest.approx(0.0355, abs=5e-5)
    assert score.fermi_level_mae == pytest.approx(0.0202, abs=5e-5)
    names = np.array(train.structures)
    levels = np.array([item.fermi_level for item in train])
    means = {name: levels[names == name].mean() for name in set(names)}
    assert np.mean([abs(means[item.structure] - item.fermi_level) for item in test]) == pytest.approx(0.0197, abs=5e-5)


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
def trained(source):
    """Make a model as if it had been trained on the toy data."""

    def make(kind="agni", seed=0, **data):
        torch.manual_seed(seed)
        facts = {"source": source, "offset": 0.0, "valences": None, "holdout": None, "grid": {}}
        network = DOS_MODELS[kind](**NETWORKS[kind])
        torch.nn.init.uniform_(network.output.norm.bias)
        return TrainedDOS(network, PAPER_GRID, {**facts, **data}, {"model": kind})

    return make


def test_several_models_are_compared_on_the_same_snapshots(trained, snapshots):
    models = [("one", trained("agni")), ("two", trained("csgnn"))]
    predictions, found = compare_models(models)
    assert [item.name for item in predictions] == ["one", "two", MEAN_ROW]
    assert [item.index for item in found] == [item.index for item in snapshots]
    for (name, model), prediction in zip(models, predictions, strict=False):
        assert torch.equal(prediction.dos_per_atom, predict(name, model.network, snapshots).dos_per_atom)


def test_neighbours_are_searched_once_for_all_models(trained, snapshots, monkeypatch):
    searched = []

    def noted(*arguments):
        searched.append(arguments)
        return find_environments(*arguments)

    monkeypatch.setattr("csgnn_dgl.data.atoms.records.find_environments", noted)
    compare_models([("one", trained("agni")), ("two", trained("csgnn")), ("three", trained("schnet"))])
    cutoffs = {trained(kind).network.cutoff for kind in ("agni", "csgnn", "schnet")}
    assert len(searched) == len(cutoffs) * len(snapshots)


def test_models_that_did_not_see_a_structure_make_one_row(trained, snapshots):
    models = [(f"without {name}", trained("agni", seed, holdout=name)) for seed, name in enumerate(STRUCTURES)]
    predictions, found = compare_models(models)
    assert [item.name for item in predictions] == ["without chain", MEAN_ROW]
    assert found.structures == snapshots.structures
    for (_, model), name in zip(models, STRUCTURES, strict=True):
        own = np.array(found.structures) == name
        expected = predict(
            "", model.network, snapshots.where(lambda item, name=name: item.structure == name)
        ).dos_per_atom
        assert torch.equal(predictions[0].dos_per_atom[torch.from_numpy(own)], expected)


def test_runs_that_do_not_fit_each_other_are_refused(trained, tmp_path):
    one = ("one", trained())
    other = ("two", trained(source=str(tmp_path)))
    with pytest.raises(InputError, match=r"two was trained with data.source = .* compare runs on the same data"):
        compare_models([one, other])
    with pytest.raises(InputError, match="one is there twice"):
        compare_models([one, one])
    with pytest.raises(InputError, match=r"two has runs with data.holdout dimer and others have None"):
        compare_models([one, ("two", trained(holdout="dimer"))])


def test_results_are_kept_as_json_tables_and_figures(tmp_path, snapshots, prediction):
    perfect = Prediction("perfect", torch.from_numpy(snapshots.dos_per_atom))
    scores = [score_dos(item, snapshots) for item in (prediction, perfect)]
    file = write_dos_results(tmp_path / "out", scores, [prediction, perfect], snapshots, {"seed": 3})
    content = json.loads(file.read_text())
    assert content["facts"] == {"seed": 3}
    assert content["results"] == json.loads(json.dumps([score.as_dict() for score in scores]))
    text = (tmp_path / "out" / "results.md").read_text()
    assert dos_tables(scores) in text
    assert "- seed: 3" in text
    for name in ("dos.png", "parity.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(PNG)
    assert "invariance" not in content
    assert not (tmp_path / "out" / "invariance.png").exists()
    lines = dos_tables(scores).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells == ["shifted", "7", f"{scores[0].band_energy_mae:.4f}", "0 of 3", f"{scores[0].snapshots_within} of 9"]
    assert lines[3].startswith("| perfect | –          | 0.0000 ")
    assert any(line.startswith("| dimer ") for line in lines)


def test_figures_have_a_panel_for_each_snapshot_and_structure(snapshots, prediction):
    assert first_of_each(snapshots) == [0, 3, 6]
    figure = dos_figure([prediction], snapshots, [0, 3, 6, 7, 8])
    assert [axes.get_title() for axes in figure.axes] == ["chain", "dimer", "square", "square", "square"]
    assert np.allclose(figure.axes[1].lines[0].get_ydata(), prediction.dos_per_atom[3])
    assert [axes.get_title() for axes in parity_figure([prediction], snapshots).axes] == list(STRUCTURES)
