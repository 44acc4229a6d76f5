"""One call from ``ase.Atoms`` to the density of states."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from ase import Atoms

import csgnn_dgl
from csgnn_dgl.data import Snapshots, from_atoms
from csgnn_dgl.electronic import PAPER_GRID
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping import find_environments
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.tasks.dos import TrainedDOS
from csgnn_dgl.tasks.dos.prediction import DOSPrediction
from csgnn_dgl.tasks.dos.writing import write_predictions
from tests.models.toys import Counting
from tests.tolerances import EXACT, ROUNDED, TOLERANCE, approx, printed
from tests.toy_snapshots import NETWORKS, band_energy_by_hand, toy_atoms


@pytest.fixture(params=NETWORKS)
def network(request):
    """A network that predicts more electrons than there are, in evaluation mode."""
    torch.manual_seed(0)
    network = DOS_MODELS[request.param](**NETWORKS[request.param]).eval()
    torch.nn.init.uniform_(network.output.norm.bias, 0.2, 1.0)
    return network


def test_one_structure_gives_one_prediction(network):
    atoms = toy_atoms("square", 1.4)
    result = csgnn_dgl.predict_dos(atoms, network)
    assert isinstance(result, DOSPrediction)
    assert result.name == "square"
    assert (result.num_atoms, result.num_electrons) == (4, 16.0)
    assert result.atom_dos.shape == (4, 310)
    assert np.array_equal(result.energies, PAPER_GRID.centres)
    assert np.array_equal(result.dos, result.atom_dos.sum(axis=0))
    assert result.num_states == approx(result.dos.sum() * 0.1, **EXACT)
    energy, level = band_energy_by_hand(result.dos, 16.0)
    assert result.fermi_level == approx(level, **EXACT)
    assert result.band_energy == approx(energy, **EXACT)


def test_only_fermi_level_and_band_energy_need_electrons(network, tmp_path):
    known = csgnn_dgl.predict_dos(toy_atoms("square", 1.4), network)
    unknown = dataclasses.replace(known, num_electrons=None)
    assert unknown.num_states == known.num_states
    for name in ("fermi_level", "band_energy"):
        with pytest.raises(InputError, match="square has no num_electrons, which Fermi level and band energy need"):
            getattr(unknown, name)
    with pytest.raises(InputError, match="square has no num_electrons"):
        write_predictions(tmp_path, [unknown], from_atoms(toy_atoms("square", 1.4)))
    assert not list(tmp_path.iterdir())


def test_several_structures_give_as_many_predictions(network):
    several = [toy_atoms("dimer", 1.3), toy_atoms("chain", 1.4)]
    results = csgnn_dgl.predict_dos(several, TrainedDOS(network))
    assert [item.name for item in results] == ["dimer", "chain"]
    for item, atoms in zip(results, several, strict=True):
        assert np.allclose(item.atom_dos, csgnn_dgl.predict_dos(atoms, network).atom_dos, **TOLERANCE[torch.float32])


def test_neither_the_choice_of_the_cell_nor_the_order_of_the_atoms_matters(network):
    ring = toy_atoms("chain", 1.4)
    ring.info.clear()  # the electrons of a cell are not those of its copies
    one = csgnn_dgl.predict_dos(ring, network)
    supercell = ring.repeat((1, 1, 3))
    many = csgnn_dgl.predict_dos(supercell, network)
    assert np.allclose(many.dos / 3, one.dos, **TOLERANCE[torch.float32])
    assert many.fermi_level == approx(one.fermi_level, **ROUNDED)
    assert many.band_energy == approx(3 * one.band_energy, **ROUNDED)
    atoms = Atoms("C3", [[0, 0, 0], [0, 0, 1.4], [0, 1.0, 2.2]])
    order = [2, 0, 1]
    straight, mixed = csgnn_dgl.predict_dos(atoms, network), csgnn_dgl.predict_dos(atoms[order], network)
    assert np.allclose(mixed.atom_dos, straight.atom_dos[order], **TOLERANCE[torch.float32])


def test_too_few_predicted_states_are_shown_not_hidden(network):
    torch.nn.init.constant_(network.output.norm.weight, 0.0)
    torch.nn.init.constant_(network.output.norm.bias, 0.05)
    result = csgnn_dgl.predict_dos(toy_atoms("dimer", 1.4), network)
    assert result.num_states < result.num_electrons  # type: ignore[operator]
    assert result.fermi_level == approx(1.0, **EXACT)


def test_electrons_may_be_told(network):
    atoms = Atoms("C2", [[0, 0, 0], [0, 0, 1.4]])
    assert csgnn_dgl.predict_dos(atoms, network).num_electrons == 8
    assert csgnn_dgl.predict_dos(atoms, network, valences={"C": 6}).num_electrons == 12
    model = TrainedDOS(network, data={"valences": {"C": 5.0}})
    assert csgnn_dgl.predict_dos(atoms, model).num_electrons == 10
    atoms.info["num_electrons"] = 7
    assert csgnn_dgl.predict_dos(atoms, model).num_electrons == 7


def test_the_electrons_of_a_smaller_cell_are_refused_and_its_dos_is_passed_over(network, caplog):
    supercell = toy_atoms("chain", 1.4).repeat((1, 1, 2))
    assert supercell.info["num_electrons"] == 12  # ase keeps what was told of one cell
    with pytest.raises(
        InputError, match="snapshot 0 has num_electrons = 12, but its 6 atoms have 24 valence electrons"
    ):
        csgnn_dgl.predict_dos(supercell, network)
    supercell.info["num_electrons"] = 24
    assert csgnn_dgl.predict_dos(supercell, network).num_electrons == 24
    (told,) = caplog.messages
    assert "passed over (the DOS holds 13.2 electrons up to 1 eV, but there are 24" in told
    del supercell.info["dos"]
    assert csgnn_dgl.predict_dos(supercell, network).num_electrons == 24
    # a model of the bands of one electron per atom has to tell so
    supercell.info["num_electrons"] = 6
    assert csgnn_dgl.predict_dos(supercell, network, valences={"C": 1}).num_electrons == 6
    ion = Atoms("C2", [[0, 0, 0], [0, 0, 1.4]], info={"num_electrons": 4.5})
    assert csgnn_dgl.predict_dos(ion, network).num_electrons == 4.5


def test_structures_that_cannot_be_used_are_named(network):
    good = toy_atoms("dimer", 1.4)
    with pytest.raises(InputError, match="atoms: snapshot 1 contains O, but the model knows C only"):
        csgnn_dgl.predict_dos([good, Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])], network)
    with pytest.raises(InputError, match="atoms: snapshot 0: atoms 0 and 1 are only 0.1 Å apart"):
        csgnn_dgl.predict_dos(Atoms("C2", [[0, 0, 0], [0, 0, 0.1]]), network)
    with pytest.raises(InputError, match="direction a is flagged as periodic"):
        csgnn_dgl.predict_dos(Atoms("C", [[0, 0, 0]], pbc=True), network)
    with pytest.raises(InputError, match="there is no such checkpoint"):
        csgnn_dgl.predict_dos(good, "nowhere.ckpt")


def test_a_dos_that_is_not_finite_is_refused(network):
    network.output.register_forward_hook(lambda module, features, dos: dos * torch.inf)
    with pytest.raises(InputError, match="^atoms: snapshot 0: the predicted DOS is not finite"):
        csgnn_dgl.predict_dos(toy_atoms("dimer", 1.4), network)


def test_predictions_are_written_as_tables_arrays_and_figures(network, tmp_path):
    several = [toy_atoms("dimer", 1.3), toy_atoms("dimer", 1.4), toy_atoms("square", 1.4)]
    parts = [from_atoms(several[:2], source="a/first.extxyz"), from_atoms(several[2:], source="b/second.cif")]
    snapshots = Snapshots((*parts[0], *parts[1]))
    results = csgnn_dgl.predict_dos(several, network)
    records = json.loads(write_predictions(tmp_path / "out", results, snapshots).read_text())
    assert [record["name"] for record in records] == ["first-0", "first-1", "second"]
    assert [(record["source"], record["index"]) for record in records][1] == ("a/first.extxyz", 1)
    for record, result in zip(records, results, strict=True):
        assert record["fermi_level"] == result.fermi_level
        assert record["band_energy"] == result.band_energy
        stem = tmp_path / "out" / record["name"]
        table = np.loadtxt(f"{stem}.csv", delimiter=",", skiprows=1)
        assert np.allclose(table, np.column_stack([result.energies, result.dos]), **printed(5))
        arrays = np.load(f"{stem}.npz", allow_pickle=False)
        assert np.array_equal(arrays["atom_dos"], result.atom_dos)
        assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_module_from_elsewhere_predicts_too():
    atoms, network = toy_atoms("dimer", 1.4), Counting()
    found = csgnn_dgl.predict_dos(atoms, network)
    environments = find_environments(atoms.positions, cutoff=network.cutoff)
    wanted = network.atom_dos(environments).detach().double()
    torch.testing.assert_close(torch.from_numpy(found.atom_dos), wanted, **TOLERANCE[torch.float32])
    assert not network.training
