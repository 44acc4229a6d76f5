"""The folders of the paper's authors."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from csgnn_dgl.data import load_snapshots, read_snapshot_folders
from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from tests.tolerances import printed


def crystal() -> Atoms:
    return Atoms("C2", [[0, 0, 0], [1, 1, 1]], cell=[2, 2, 2], pbc=True)


def write_folder(root: Path, name: str, dos: np.ndarray, energies: np.ndarray | None = None) -> Path:
    """One snapshot of the authors' layout; the last of the 311 rows ends the last bin."""
    folder = root / name
    folder.mkdir(parents=True)
    ase.io.write(folder / "POSCAR", crystal(), format="vasp")
    rows = np.column_stack([PAPER_GRID.edges if energies is None else energies, [*dos, 99.0]])
    (folder / "doscar_s").write_text("".join(f"{energy:.5f} {value:.8f}\n" for energy, value in rows))
    return folder


@pytest.fixture
def authors(tmp_path):
    """Three snapshots in the authors' layout with their lists of splits; their DOS (3, 310)."""
    dos = np.random.default_rng(0).random((3, 310)) + 0.5
    for name, values in zip(("C60/300K/4", "C60/600K/11", "Graphene/300K/2"), dos, strict=True):
        write_folder(tmp_path, name, values)
    head = ",file_path\n"
    (tmp_path / "Train.csv").write_text(
        f"{head}0,/old/disk/database/Graphene/300K/2\n1,/old/disk/database/C60/600/11\n"
    )
    (tmp_path / "Val.csv").write_text(f"{head}7,database/C60/300K/4\n")
    return tmp_path, dos


def test_the_authors_folders(authors):
    root, dos = authors
    snapshots = read_snapshot_folders(root, "train")
    np.testing.assert_allclose(snapshots.dos, dos[[2, 1]], **printed(8))
    assert snapshots.structures == ("Graphene", "C60")
    assert [item.temperature for item in snapshots] == [300.0, 600.0]
    assert snapshots.num_electrons.tolist() == [8, 8]
    assert snapshots[1].source == str(root / "C60" / "600K" / "11" / "doscar_s")
    np.testing.assert_allclose(read_snapshot_folders(root, root / "Val.csv").dos, dos[:1], **printed(8))
    assert read_snapshot_folders(root).structures == ("C60", "C60", "Graphene")
    assert load_snapshots(root, "val").structures == ("C60",)
    with pytest.raises(InputError, match="nor Test.csv is there; add one of them"):
        load_snapshots(root, "test")
    with pytest.raises(InputError, match="Test.csv: there is no such file"):
        read_snapshot_folders(root, "test")


def test_other_energies_are_put_on_the_grid(authors):
    root, dos = authors
    coarse = EnergyGrid(-30.0, 0.2, 155)
    np.testing.assert_allclose(
        read_snapshot_folders(root, "val", coarse).dos[0], dos[0].reshape(-1, 2).mean(axis=1), **printed(8)
    )
    write_folder(root, "Shifted/300K/1", dos[0], PAPER_GRID.edges + 4.0)
    (root / "offsets.csv").write_text("path,num_electrons,offset\nShifted/300K/1,7.5,-4\nC60/300K/4,,\n")
    snapshots = read_snapshot_folders(root, "offsets.csv")
    np.testing.assert_allclose(snapshots.dos, dos[[0, 0]], **printed(8))
    assert snapshots.num_electrons.tolist() == [7.5, 8]


def test_broken_folders_are_named(authors):
    root, _ = authors
    for content, complaint in (
        (",path\n", "the list has a header but no snapshots"),
        (",path\n0,C60\n", "line 2 has no path structure/temperature/snapshot"),
        (",path\n0,C60/300K/4\n1,C60/300K/5\n", "POSCAR: there is no such file, but snapshot 1 needs it"),
        ("path,num_electrons\nC60/300K/4,many\n", "line 2 has num_electrons = 'many'; give a number"),
        ("", "the file is empty"),
    ):
        (root / "Train.csv").write_text(content)
        with pytest.raises(InputError, match=complaint):
            read_snapshot_folders(root, "train")
    path = root / "C60" / "300K" / "4" / "doscar_s"
    text = path.read_text()
    for broken, complaint in (
        ("one two\n", "not a table of two columns"),
        ("-30\n-29.9\n", "not a table of two columns"),
        (
            text[: len(text) // 4].rsplit("\n", 1)[0] + "\n",
            "doscar_s: snapshot 0 has a DOS that ends at -2.*, below the end of the",
        ),
        (text.replace(text.split()[21], "nan"), "doscar_s: snapshot 0 has a DOS that is NaN or infinite in bin 10"),
    ):
        path.write_text(broken)
        with pytest.raises(InputError, match=complaint):
            read_snapshot_folders(root, "val")
    with pytest.raises(InputError, match="there is no such folder"):
        read_snapshot_folders(root / "none")
    (root / "empty").mkdir()
    with pytest.raises(InputError, match="no snapshots; arrange them as structure/temperature/snapshot/POSCAR"):
        read_snapshot_folders(root / "empty")
