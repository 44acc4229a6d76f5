"""DOSCAR, vasprun.xml and the folders of the paper's authors."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from csgnn_dgl.data import load_snapshots, read_snapshot_folders, read_vasp
from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from tests.tolerances import EXACT, printed

GRID = EnergyGrid(-10.0, 0.5, 24)
ENERGIES = np.linspace(-9.93, 2.4, 150)


def crystal() -> Atoms:
    return Atoms("C2", [[0, 0, 0], [1, 1, 1]], cell=[2, 2, 2], pbc=True)


def curves(spins: int) -> np.ndarray:
    """Energy, DOS per spin, integrated DOS per spin, as VASP writes them."""
    integrated = (
        6 / (1 + np.exp(-(ENERGIES + 5) / np.array([[0.5], [0.8]])))[:spins]
        - 6 / (1 + np.exp(-(ENERGIES[0] + 5) / np.array([[0.5], [0.8]])))[:spins]
    )
    dos = np.gradient(integrated, ENERGIES, axis=1)
    return np.column_stack([ENERGIES, dos.T, integrated.T])


def fermi(table: np.ndarray, electrons: float) -> float:
    """Where the integrated DOS holds the electrons."""
    spins = (table.shape[1] - 1) // 2
    return round(float(np.interp(electrons, table[:, 1 + spins :].sum(axis=1), table[:, 0])), 8)


def write_doscar(folder: Path, table: np.ndarray, structure: str = "POSCAR") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / structure, crystal(), format="vasp")
    rows = ["   2   2   1   0", "  1.0 2.0 2.0 2.0 5e-16", "  1e-4", "  CAR ", " unknown system"]
    rows.append(f" 2.4 -9.93 {len(table)} {fermi(table, 8):.8f} 1.0")
    rows += ["  ".join(f"{value:.8e}" for value in row) for row in table]
    # what follows belongs to single atoms
    rows += [rows[5], *("  ".join("1.0" for _ in range(4)) for _ in table)]
    (folder / "DOSCAR").write_text("\n".join(rows) + "\n")
    return folder / "DOSCAR"


def write_vasprun(folder: Path, table: np.ndarray) -> Path:
    spins = (table.shape[1] - 1) // 2

    def vectors(name: str, rows: np.ndarray) -> str:
        return f'<varray name="{name}">' + "".join(f"<v>{a} {b} {c}</v>" for a, b, c in rows) + "</varray>"

    cell, scaled = np.asarray(crystal().cell.array), crystal().get_scaled_positions()
    structure = f"<crystal>{vectors('basis', cell)}</crystal>{vectors('positions', scaled)}"
    energy = "".join(f'<i name="{name}"> -18.0 </i>' for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))
    sets = "".join(
        f'<set comment="spin {s + 1}">'
        + "".join(f"<r> {row[0]:.8f} {row[1 + s]:.8f} {row[1 + spins + s]:.8f} </r>" for row in table)
        + "</set>"
        for s in range(spins)
    )
    atoms = "".join("<rc><c>C </c><c>1</c></rc>" for _ in range(2))
    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling><generator><i name="version" type="string">6.3.0</i></generator>
<kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<parameters><separator name="electronic"><i name="NELECT"> 9.00000000</i></separator></parameters>
<atominfo><atoms>2</atoms><types>1</types><array name="atoms"><set>{atoms}</set></array></atominfo>
<structure name="initialpos">{structure}</structure>
<calculation><structure>{structure}</structure>
{vectors("forces", np.zeros((2, 3)))}{vectors("stress", np.zeros((3, 3)))}
<scstep><energy>{energy}</energy></scstep><energy>{energy}</energy>
<dos><i name="efermi"> {fermi(table, 9):.8f} </i><total><array><set>{sets}</set></array></total></dos>
</calculation>
<structure name="finalpos">{structure}</structure>
</modeling>
"""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vasprun.xml").write_text(text)
    return folder / "vasprun.xml"


@pytest.mark.parametrize("spins", [1, 2])
@pytest.mark.parametrize(("write", "electrons"), [(write_doscar, 8), (write_vasprun, 9)])
def test_vasp(tmp_path, write, electrons, spins):
    table = curves(spins)
    if spins == 1:
        table[:, 1:] *= 2
    path = write(tmp_path / "diamond", table)
    for source in (path, path.parent):
        (snapshot,) = read_vasp(source, GRID)
        assert (snapshot.structure, snapshot.num_electrons, snapshot.source) == ("diamond", electrons, str(path))
        assert snapshot.fermi_level == fermi(table, electrons)
        np.testing.assert_allclose(snapshot.positions, crystal().positions, **EXACT)
        assert snapshot.pbc.all()
        # every bin holds the electrons that VASP integrated up to its edge
        total = np.interp(GRID.edges, ENERGIES, table[:, 1 + spins :].sum(axis=1))
        assert snapshot.dos is not None
        np.testing.assert_allclose(np.cumsum(snapshot.dos) * GRID.width, total[1:], **printed(7))


def test_alignment(tmp_path):
    table = curves(2)
    path = write_doscar(tmp_path, table)
    plain = read_vasp(path, GRID)[0]
    shifted = read_vasp(path, EnergyGrid(-12.0, 0.5, 24), offset=-2.0)[0]
    assert plain.dos is not None
    assert shifted.dos is not None
    np.testing.assert_allclose(shifted.dos, plain.dos, **EXACT)
    assert shifted.fermi_level == fermi(table, 8) - 2.0
    with pytest.raises(InputError, match="the stored Fermi level is .* and there are 6; .* mend num_electrons"):
        read_vasp(path, GRID, valences={"C": 3})
    with pytest.raises(InputError, match=r"DOSCAR: snapshot 0 has [0-9.]+ electrons below the energy grid"):
        read_vasp(path, GRID, offset=-8.0)


def test_contcar_where_there_is_no_poscar(tmp_path):
    path = write_doscar(tmp_path, curves(2), structure="CONTCAR")
    assert read_vasp(path, GRID)[0].num_atoms == 2
    (tmp_path / "CONTCAR").unlink()
    with pytest.raises(InputError, match="DOSCAR: there is no POSCAR or CONTCAR beside it"):
        read_vasp(path, GRID)


def test_broken_vasp_files_are_named(tmp_path):
    path = write_doscar(tmp_path, curves(2))
    lines = path.read_text().splitlines()
    for content, complaint in (
        (lines[:80], "74 of 150 energies are there; the file is truncated"),
        (lines[:3], "the sixth line is not that of a DOSCAR"),
        ([*lines[:5], "some words"], "the sixth line is not that of a DOSCAR"),
        ([*lines[:9], "1 2 x 4 5", *lines[10:]], "not a table of energy, DOS and integrated DOS"),
        ([*lines[:6], *(line[:30] for line in lines[6:])], "the total DOS has 2 columns"),
        ([], "the file is empty"),
    ):
        path.write_text("\n".join(content))
        with pytest.raises(InputError, match=complaint) as caught:
            read_vasp(path, GRID)
        assert str(caught.value).startswith(str(path))
    path = write_vasprun(tmp_path, curves(1) * [1, 2, 2])
    text = path.read_text()
    for broken, complaint in (
        (text[: len(text) // 2], "not a complete vasprun.xml"),
        (text.replace("NELECT", "NELECTRON"), "there is no NELECT in the file"),
        (text.replace("<dos>", "<d>").replace("</dos>", "</d>"), "there is no total DOS in the file"),
        (text.replace("9.00000000", "nine"), "not a complete vasprun.xml"),
    ):
        path.write_text(broken)
        with pytest.raises(InputError, match=complaint) as caught:
            read_vasp(tmp_path, GRID)
        assert str(caught.value).startswith(str(path))
    with pytest.raises(InputError, match="there is no such file; give a vasprun.xml, a DOSCAR, or a folder"):
        read_vasp(tmp_path / "none")


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
