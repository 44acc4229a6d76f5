"""What `predict_dos` takes for structures, and what it refuses in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

import csgnn_dgl
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import DOS_MODELS
from csgnn_dgl.tasks.dos.prediction import DOSPrediction
from tests.tolerances import TOLERANCE
from tests.toy_snapshots import NETWORKS, toy_atoms

DIMER = Atoms("C2", [[0, 0, 0], [0, 0, 1.4]])


class Structure:
    """What `csgnn_dgl` uses of pymatgen's structures: a sequence of sites, which turns into ``ase.Atoms``."""

    def __init__(self, atoms, charge=0.0, ordered=True):
        self.atoms, self.charge, self.ordered = atoms, charge, ordered

    def __iter__(self):
        return iter(self.atoms.positions)

    def to_ase_atoms(self):
        if not self.ordered:
            raise ValueError("ASE Atoms only supports ordered structures")
        return self.atoms.copy()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = DOS_MODELS["agni"](**NETWORKS["agni"]).eval()
    torch.nn.init.uniform_(network.output.norm.bias, 0.2, 1.0)
    return network


def test_paths_are_read(network, tmp_path):
    several = [toy_atoms("dimer", 1.35), toy_atoms("chain", 1.42)]
    write(tmp_path / "a.extxyz", several, format="extxyz")
    write(tmp_path / "b.xyz", DIMER)
    expected = csgnn_dgl.predict_dos([*several, DIMER], network)
    for given in (
        [tmp_path / "a.extxyz", str(tmp_path / "b.xyz")],
        (tmp_path / name for name in ("a.extxyz", "b.xyz")),
    ):
        found = csgnn_dgl.predict_dos(given, network)
        assert [item.name for item in found] == ["dimer", "chain", "C2"]
        for one, other in zip(found, expected, strict=True):
            assert np.allclose(one.atom_dos, other.atom_dos, **TOLERANCE[torch.float32])
    assert [item.name for item in csgnn_dgl.predict_dos(str(tmp_path / "b.xyz"), network)] == ["C2"]


def test_structures_of_pymatgen_are_taken(network):
    one = csgnn_dgl.predict_dos(Structure(DIMER), network)
    assert isinstance(one, DOSPrediction)
    assert np.array_equal(one.atom_dos, csgnn_dgl.predict_dos(DIMER, network).atom_dos)
    several: list[Any] = [Structure(DIMER, charge=1.0), DIMER]
    ion, plain = csgnn_dgl.predict_dos(several, network)
    assert (ion.num_electrons, plain.num_electrons) == (7, 8)
    assert "charge" not in DIMER.info
    with pytest.raises(
        InputError, match=r"atoms: snapshot 1 cannot be made ase.Atoms \(ASE Atoms only supports ordered"
    ):
        csgnn_dgl.predict_dos([several[1], Structure(DIMER, ordered=False)], network)


def test_pymatgen_itself(network):
    core = pytest.importorskip("pymatgen.core")
    diamond = core.Structure.from_spacegroup("Fd-3m", core.Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
    found = csgnn_dgl.predict_dos(diamond, network)
    assert (found.num_atoms, found.num_electrons) == (8, 32)
    molecule = core.Molecule(["C", "C"], DIMER.positions, charge=1, spin_multiplicity=2)
    assert csgnn_dgl.predict_dos(molecule, network).num_electrons == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            None,
            "atoms is None; give ase.Atoms, a pymatgen Structure or Molecule, the path of a file, or a list of these",
        ),
        (3, "atoms is 3; give ase.Atoms"),
        (np.float64(2.5), r"atoms is .*2.5\)?; give ase.Atoms"),
        ({"symbols": "C"}, "atoms is {'symbols': 'C'}; give"),
        (b"a.xyz", "atoms is b'a.xyz'; give"),
        ([], "atoms is an empty list; give at least one structure"),
        ([DIMER, None], "atoms: snapshot 1 is None; give ase.Atoms"),
        ([[0, 0, 0]], r"atoms: snapshot 0 is \[0, 0, 0\]; give ase.Atoms"),
        (np.zeros((40, 3)), "atoms: snapshot 0 is array"),
        ([DIMER, "a.xyz"], "atoms: snapshot 1 is 'a.xyz'; structures and paths cannot be mixed"),
        ("gone.xyz", "gone.xyz: there is no such file"),
        (Path("gone.xyz"), "gone.xyz: there is no such file"),
        ("", "^.: neither vasprun.xml nor DOSCAR is in this folder; give the file"),
    ],
)
def test_other_things_are_refused_in_one_sentence(network, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        csgnn_dgl.predict_dos(given, network)
    assert "\n" not in str(caught.value)


def test_a_model_must_be_one():
    with pytest.raises(InputError, match="model is 3; give a checkpoint, a run folder or what load_dos_model returned"):
        csgnn_dgl.predict_dos(DIMER, 3)  # type: ignore[call-overload]


def test_elements_are_checked_before_electrons(network, tmp_path):
    """A model of carbon is not for silicon, whatever else there is to say of it."""
    silicon = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]], info={"num_electrons": 1, "charge": "much", "dos": [1.0]})
    gold = Atoms("Au", [[0, 0, 0]])  # no valence is known
    for atoms, symbol in ((silicon, "Si"), (gold, "Au")):
        with pytest.raises(InputError, match=f"atoms: snapshot 1 contains {symbol}, but the model knows C only"):
            csgnn_dgl.predict_dos([DIMER, atoms], network)
    write(tmp_path / "a.extxyz", silicon, format="extxyz")
    with pytest.raises(InputError, match="a.extxyz: snapshot 0 contains Si, but the model knows C only"):
        csgnn_dgl.predict_dos(tmp_path / "a.extxyz", network)
