"""A file format costs one reader: a module in a folder ``formats``, found by its table of suffixes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from csgnn_dgl.data import load_snapshots, read_cloud, read_folder
from csgnn_dgl.data.atoms import formats as of_atoms
from csgnn_dgl.data.clouds import formats as of_clouds
from csgnn_dgl.data.formats import collect_readers
from csgnn_dgl.errors import InputError

ROOT = Path(__file__).parents[2]

CLOUD_READER = """
import numpy as np


def read(path):
    return np.array(path.read_text().split("/"), dtype=float).reshape(-1, 3), None


READERS = {".toy": read}
"""
ATOM_READER = """
from ase import Atoms

from csgnn_dgl.data import from_atoms


def read(path, grid, offset, valences):
    text = path.read_text().split()
    return from_atoms([Atoms("C2", [[0, 0, 0], [0, 0, float(bond) + offset]]) for bond in text], grid, valences)


READERS = {".toy": read}
"""


@pytest.fixture
def with_module(tmp_path, monkeypatch):
    """Put a module into a package's folder, as a contributor would, and collect the readers anew."""

    def add(package, text):
        folder = tmp_path / "own"
        folder.mkdir()
        (folder / "toy.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        found = collect_readers(package.__name__, package.__path__)
        assert {*found} == {*package.READERS, ".toy"}
        for suffix, reader in found.items():
            monkeypatch.setitem(package.READERS, suffix, reader)

    yield add
    for package in (of_atoms, of_clouds):
        sys.modules.pop(f"{package.__name__}.toy", None)


def test_a_format_of_shapes_is_one_module(tmp_path, with_module):
    with_module(of_clouds, CLOUD_READER)
    place = tmp_path / "data" / "thing" / "train"
    place.mkdir(parents=True)
    (place / "a.toy").write_text("0/0/1/0/2/0/3/0/0")
    assert read_cloud(place / "a.toy", 3).tolist() == [[0, 0, 1], [0, 2, 0], [3, 0, 0]]
    np.testing.assert_array_equal(read_folder(tmp_path / "data", "train", 3).points[0], read_cloud(place / "a.toy", 3))
    with pytest.raises(InputError, match="format '.other' is unknown; give one of .*off, .*toy"):
        (place / "a.other").touch()
        read_cloud(place / "a.other", 3)


def test_a_format_of_atoms_is_one_module(tmp_path, with_module):
    with_module(of_atoms, ATOM_READER)
    (tmp_path / "test.toy").write_text("1.3 1.5")
    found = load_snapshots(tmp_path, "test", offset=0.25)
    assert [item.positions[1, 2] for item in found] == [1.55, 1.75]


@pytest.mark.slow
def test_any_name_may_be_the_first_that_is_imported():
    """Readers need each other's modules, which must not go round in a circle, wherever it is entered."""
    program = """
import importlib, sys
import csgnn_dgl.data
for name in csgnn_dgl.data.__all__:
    for module in [module for module in sys.modules if module.partition(".")[0] == "csgnn_dgl"]:
        del sys.modules[module]
    getattr(importlib.import_module("csgnn_dgl.data"), name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
