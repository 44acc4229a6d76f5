"""DOSCAR and vasprun.xml."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from csgnn_dgl.data import read_vasp
from csgnn_dgl.electronic import EnergyGrid
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
