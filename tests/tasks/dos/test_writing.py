"""Files and tables of predictions."""

import json

import numpy as np
import pytest
import torch

from csgnn_dgl.data import Snapshots, from_atoms
from csgnn_dgl.electronic import PAPER_GRID
from csgnn_dgl.tasks.dos.figures import prediction_figure
from csgnn_dgl.tasks.dos.prediction import DOSPrediction
from csgnn_dgl.tasks.dos.writing import file_names, predictions_table, shown, write_predictions
from tests.tolerances import EXACT, approx, printed
from tests.toy_snapshots import toy_atoms


def frames(*sources):
    """Snapshots of sources, which stand there as often as they have frames one after the other."""
    parts = [from_atoms([toy_atoms("dimer", 1.4)] * count, source=source) for source, count in sources]
    return Snapshots(tuple(item for part in parts for item in part))


def predicted(atoms, deviation=None, training=None):
    rows = np.tile(atoms.info["dos"] / len(atoms), (len(atoms), 1))
    return DOSPrediction(atoms.info["structure"], PAPER_GRID, rows, 4.0 * len(atoms), deviation, training)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([("a.xyz", 2), ("b.xyz", 1)], ["a-0", "a-1", "b"]),
        ([("a.xyz", 2), ("a-0.xyz", 1)], ["a-0", "a-1", "a-0_xyz"]),
        ([("a-0.xyz", 1), ("a.xyz", 2)], ["a-0", "a_xyz-0", "a_xyz-1"]),
        ([("one/POSCAR", 1), ("two/POSCAR", 1)], ["one-POSCAR", "two-POSCAR"]),
        ([("x/one/POSCAR", 1), ("y/one/POSCAR", 1)], ["one-POSCAR", "POSCAR"]),
        ([("a.xyz", 1), ("a.cif", 1), ("a.cif", 1)], ["a", "a_cif", "a_2"]),
        ([("a.xyz", 2), ("a.xyz", 2)], ["a-0", "a-1", "a_xyz-0", "a_xyz-1"]),
        ([("A.xyz", 1), ("a.XYZ", 1)], ["A", "a_XYZ"]),
        ([("POSCAR", 1), ("two/POSCAR", 1)], ["POSCAR", "two-POSCAR"]),
        ([(".xyz", 1), ("--.xyz", 1), ("a b*?$x.cif", 1), ("碳\n.cif", 1)], ["structure", "_xyz", "a_b___x", "碳_"]),
        ([("n" * 300 + ".xyz", 1), ("n" * 300 + ".cif", 1)], ["n" * 80, "n" * 80 + "_2"]),
    ],
)
def test_names_of_files_never_collide(sources, expected):
    assert file_names(frames(*sources)) == expected


def test_names_never_collide_whatever_the_files_are_called():
    rng = np.random.default_rng(0)
    for _ in range(200):
        parts = ["".join(rng.choice(list("aA-01._/"), 4)) for _ in range(12)]
        names = file_names(frames(*((part, int(rng.integers(1, 4))) for part in parts)))
        assert len({name.casefold() for name in names}) == len(names)
        assert not any(set(name) & set("./") for name in names)


def test_numbers_that_mean_nothing_are_left_out_of_table_and_files(tmp_path):
    near, far = toy_atoms("dimer", 1.4), toy_atoms("square", 1.4)
    snapshots = from_atoms([near, far])
    found = [
        predicted(near, np.array([3.0, 5.5]), 5.0),
        predicted(far, np.array([1.0, 2.0, 7.6, 3.0]), 5.0),
    ]
    assert [(item.is_outside, item.is_far_outside) for item in found] == [(True, False), (True, True)]
    lines = predictions_table(found).splitlines()
    assert "deviation (training: up to 5.0)" in lines[0]
    assert f"| {found[0].fermi_level:.4f} " in lines[2] and lines[2].endswith("| 5.5                             |")
    assert "outside of the training data | –" in lines[3] and f"{found[1].band_energy:.4f}" not in lines[3]
    first, second = json.loads(write_predictions(tmp_path, found, snapshots).read_text())
    assert first["fermi_level"] == found[0].fermi_level and first["band_energy"] == found[0].band_energy
    assert (second["fermi_level"], second["band_energy"]) == (None, None)
    assert (second["deviation"], second["training_deviation"]) == (7.6, 5.0)
    for item, record in zip(found, (first, second), strict=True):
        name = tmp_path / record["name"]
        assert np.array_equal(np.load(f"{name}.npz")["deviation"], item.atom_deviation)
        table = np.genfromtxt(f"{name}.atoms.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
        assert table["deviation"].tolist() == item.atom_deviation.tolist()
        assert set(table["element"]) == {"C"}
        assert table["states"].sum() == approx(item.num_states, **printed(4))
    positions = np.column_stack([table[f"{axis}_angstrom"] for axis in "xyz"])
    assert np.allclose(positions, far.positions, **printed(6))


def test_unknown_deviations_are_called_so(tmp_path):
    atoms = toy_atoms("dimer", 1.4)
    known, unknown = predicted(atoms, np.array([1.0, 2.0]), 5.0), predicted(atoms)
    assert "deviation" not in predictions_table([unknown])
    assert predictions_table([known, unknown]).splitlines()[3].rstrip(" |").endswith("unknown")
    (record,) = json.loads(write_predictions(tmp_path, [unknown], from_atoms(atoms)).read_text())
    assert (record["deviation"], record["training_deviation"]) == (None, None)
    assert record["fermi_level"] == approx(unknown.fermi_level, **EXACT)
    assert (tmp_path / "atoms.atoms.csv").read_text().splitlines()[1].endswith(",")
    assert "deviation" not in np.load(tmp_path / "atoms.npz")


def test_figures_can_be_left_out(tmp_path):
    atoms = toy_atoms("dimer", 1.4)
    write_predictions(tmp_path, [predicted(atoms)], from_atoms(atoms), figures=False)
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".npz", ".json"}


@pytest.mark.parametrize("axes", [{}, {"from_fermi_level": True, "per_atom": True}])
@pytest.mark.parametrize("has_reference", [True, False])
def test_far_outside_no_fermi_level_is_drawn(has_reference, axes):
    atoms = toy_atoms("dimer", 1.4)
    reference = (atoms.info["dos"], -8.0) if has_reference else None
    figure = prediction_figure(PAPER_GRID, atoms.info["dos"], None, "dimer", 2, reference, **axes)
    (panel,) = figure.axes
    labels = [patch.get_label() for patch in panel.patches]
    assert "predicted, outside of the training data" in labels
    assert len(panel.lines) == has_reference
    assert panel.get_xlabel() == "energy (eV), zero of the training data"


@pytest.mark.parametrize("name", ["a/b $x_{ y", "$", r"\frac", "a|b\n\tc", "\ud800", "碳", "_x", "", "n" * 500])
def test_structures_may_have_any_name(tmp_path, figures, name):
    atoms = toy_atoms("dimer", 1.4)
    atoms.info["structure"] = name
    found = predicted(atoms, np.array([1.0, 90.0]), 5.0)
    (record,) = json.loads(write_predictions(tmp_path, [found], from_atoms(atoms)).read_text())
    assert record["structure"] == name
    assert (tmp_path / "atoms.png").stat().st_size > 1000
    assert len(predictions_table([found]).splitlines()) == 3
    assert shown(name).isprintable() and "|" not in shown(name) and len(shown(name)) <= 80
    assert torch.tensor(found.atom_deviation).max() == 90
