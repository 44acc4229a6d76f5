"""Snapshots in memory, from files that ase reads, and the built-in carbon data."""

import bz2
import dataclasses
import gzip
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from csgnn_dgl.data import (
    Snapshot,
    Snapshots,
    carbon_snapshots,
    check_elements,
    from_atoms,
    load_snapshots,
    read_snapshots,
)
from csgnn_dgl.data.atoms.rebin import rebin
from csgnn_dgl.data.atoms.records import electrons_of
from csgnn_dgl.electronic import EnergyGrid
from csgnn_dgl.errors import InputError
from tests.tolerances import EXACT, ROUNDED, approx, printed

GRID = EnergyGrid(-10.0, 0.5, 24)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def molecule(dos: Any = 1.0, electrons: float | None = 8, distance: float = 1.4, **info: Any) -> Atoms:
    """Two carbon atoms with a DOS on `GRID`."""
    atoms = Atoms("C2", [[0, 0, 0], [0, 0, distance]])
    if dos is not None:
        atoms.info["dos"] = np.full(24, dos) if np.isscalar(dos) else dos
    if electrons is not None:
        atoms.info["num_electrons"] = electrons
    atoms.info.update(info)
    return atoms


def crystal() -> Atoms:
    return Atoms("C", cell=[2, 2, 2], pbc=True, info={"dos": np.full(24, 1.0)})


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("suffix", [".extxyz", ".xyz"])
def test_extended_xyz(tmp_path, suffix, packed):
    dos = np.random.default_rng(0).random(24) + 1
    level = float(np.interp(8, np.cumsum(dos) / 2, GRID.edges[1:]))
    written = [molecule(dos, structure="C2", temperature=300, fermi_level=level, band_energy=-40.25), crystal()]
    ase.io.write(tmp_path / "set.extxyz", written)
    path = tmp_path / f"snapshots{suffix}{packed}"
    path.write_bytes(COMPRESS[packed]((tmp_path / "set.extxyz").read_bytes()))

    snapshots = read_snapshots(path, GRID)
    first, second = snapshots
    np.testing.assert_allclose(snapshots.dos[0], dos, **EXACT)
    np.testing.assert_array_equal(first.positions, written[0].positions)
    assert first.structure == "C2"
    assert [first.temperature, first.num_electrons, first.fermi_level, first.band_energy] == [300, 8, level, -40.25]
    assert not first.pbc.any()
    # without num_electrons and structure: the valences, and the formula
    assert (second.structure, second.num_electrons, second.temperature) == ("C", 4, None)
    assert second.pbc.all()
    np.testing.assert_array_equal(second.cell, 2 * np.eye(3))
    assert (second.source, second.index) == (str(path), 1)
    assert repr(second) == f"Snapshot('C', 1 atoms, {str(path)!r}, index 1)"


def test_other_formats_of_ase_for_prediction(tmp_path):
    for name in ("POSCAR", "one.cif", "many.traj"):
        ase.io.write(tmp_path / name, crystal())
        (snapshot,) = read_snapshots(tmp_path / name, GRID, needs_dos=False)
        np.testing.assert_allclose(snapshot.cell, 2 * np.eye(3), **EXACT)
        assert snapshot.pbc.all()
    with pytest.raises(InputError, match="POSCAR: snapshot 0 has no 'dos' in its info"):
        read_snapshots(tmp_path / "POSCAR")


def test_a_set_of_snapshots():
    snapshots = from_atoms([molecule(1.0, structure="a"), molecule(2.0, structure="b"), crystal()], GRID)
    assert len(snapshots) == 3
    assert snapshots.dos.shape == (3, 24)
    assert snapshots.num_electrons.tolist() == [8, 8, 4]
    assert snapshots.num_atoms.tolist() == [2, 2, 1]
    assert snapshots.structures == ("a", "b", "C")
    assert snapshots.grid == GRID
    assert repr(snapshots) == "Snapshots(3 of C, a, b, 5 atoms)"
    assert [item.structure for item in snapshots[1:]] == ["b", "C"]
    assert [item.index for item in snapshots.subset([2, 0])] == [2, 0]
    assert snapshots.subset([1])[0] is snapshots[1]
    assert from_atoms(molecule(), GRID)[0].num_atoms == 2
    with pytest.raises(InputError, match="there are no snapshots"):
        snapshots.subset([])
    with pytest.raises(InputError, match="atoms: snapshot 1 has no DOS; put it into the file"):
        _ = from_atoms([molecule(), molecule(None)], GRID).dos
    other = dataclasses.replace(snapshots[0], grid=EnergyGrid(-5.0, 0.5, 24))
    with pytest.raises(InputError, match="snapshot 0 is on EnergyGrid.* read all on one grid"):
        Snapshots((snapshots[1], other))


def test_electrons_from_valences():
    assert electrons_of([6, 6, 1, 8], None) == 15
    assert electrons_of([6, 6, 26], {"Fe": 8, "C": 5}) == 18
    assert electrons_of([26, 6], None) is None


def test_a_record_without_electrons_is_fine_until_they_are_needed():
    iron = Atoms("Fe", info={"dos": np.full(24, 1.0)})
    snapshots = from_atoms([molecule(), iron], GRID, source="set.xyz")
    assert snapshots[1].num_electrons is None
    assert snapshots.dos_per_atom.shape == (2, 24)
    assert len(snapshots.environments()) == 2
    with pytest.raises(InputError, match="set.xyz: snapshot 1 has no num_electrons, which Fermi level and band energy"):
        _ = snapshots.num_electrons
    assert from_atoms(iron, GRID, valences={"Fe": 8}).num_electrons.tolist() == [8]
    with pytest.raises(InputError, match="snapshot 0: the DOS is empty"):
        dataclasses.replace(snapshots[1], dos=np.zeros(24), index=0)


def test_foreign_elements_are_refused():
    water = Atoms("OH2", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    snapshots = from_atoms([molecule(), water], GRID, source="set.xyz")
    check_elements(snapshots, [1, 6, 8])
    with pytest.raises(InputError, match="set.xyz: snapshot 1 contains H, but the model knows C only; remove"):
        check_elements(snapshots, [6])


def nan_position() -> Atoms:
    atoms = molecule()
    atoms.positions[1, 2] = np.nan
    return atoms


def with_nan() -> np.ndarray:
    dos = np.ones(24)
    dos[7] = np.nan
    return dos


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (molecule(distance=0.05), r"atoms 0 and 1 are only 0\.05 Å apart; remove one of them"),
        (nan_position(), "atom 1 has a coordinate that is NaN or infinite"),
        (Atoms("C", pbc=True, info={"dos": np.ones(24)}), "direction a is flagged as periodic but the cell has no"),
        (molecule(np.ones(23)), r"has a DOS of shape \(23,\), but the energy grid has 24 bins; give one value per bin"),
        (molecule(with_nan()), "has a DOS that is NaN or infinite in bin 7; repair or remove it"),
        (molecule(0.0), "the DOS is empty; widen the energy grid or check"),
        (molecule(0.5), r"the DOS holds 6 electrons up to 2 eV, but there are 8 electrons; widen the energy grid"),
        (molecule(np.full(24, "x")), "has a DOS of <U1; give real numbers"),
        (molecule(electrons=-2), "has an electron count of -2; give a positive num_electrons"),
        (molecule(num_electrons="many"), "has num_electrons = 'many'; give a number"),
        (molecule(temperature="hot"), "has temperature = 'hot'; give a number"),
        (molecule(None), "has no 'dos' in its info; add the density of states"),
        (Atoms(info={"dos": np.ones(24)}), "has no atoms; remove it"),
    ],
)
def test_a_bad_snapshot_in_a_large_set_is_named(bad, complaint):
    with pytest.raises(InputError, match=rf"^large\.xyz: snapshot 17:? {complaint}"):
        from_atoms([molecule()] * 17 + [bad], GRID, needs_dos=True, source="large.xyz")


def test_arrays_that_do_not_fit_are_named():
    good = from_atoms(molecule(), GRID)[0]
    with pytest.raises(InputError, match=r"positions of shape \(3, 3\) for 2 atoms"):
        dataclasses.replace(good, positions=np.zeros((3, 3)))
    with pytest.raises(InputError, match="has no atoms"):
        dataclasses.replace(good, numbers=np.zeros(0, dtype=np.int64))


GOOD = "2\nnum_electrons=8\nC 0 0 0\nC 0 0 1.4\n"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.xyz", "", "there are no snapshots in the file"),
        ("a.xyz", "hello\nworld\n", "snapshot 0 cannot be read"),
        ("a.xyz", GOOD + GOOD[:30], "snapshot 1 cannot be read .*; the file may be truncated"),
        ("a.xyz", GOOD + GOOD + "2\nnum_electrons=8\n", "snapshot 2 cannot be read"),
        ("a.xyz", GOOD + GOOD.replace("1.4", "one"), "snapshot 1 cannot be read"),
        ("a.xyz", GOOD + "\n" + GOOD, "snapshot 1 cannot be read .there is text after a blank line"),
        ("a.xyz", GOOD.replace("C 0 0 0", "Qq 0 0 0"), "the species 'Qq' in line 3 is no element"),
        ("a.xyz", b"\xff\xfe\x00", "the file is no text; it is damaged"),
        ("a.xyz.gz", gzip.compress(GOOD.encode() * 500, mtime=0)[:60], "the file is damaged or truncated"),
        ("a.xyz.gz", GOOD.encode(), "the file is damaged or truncated"),
        ("a.xyz.xz", lzma.compress(GOOD.encode() * 9)[:-9], "the file is damaged or truncated"),
        ("a.xyz.bz2", bz2.compress(GOOD.encode() * 9)[:-9], "the file is damaged or truncated"),
        ("a.cif", "data_x\n_cell_length_a five\n", "there are no snapshots in the file"),
        ("a.unknown", "nothing", "snapshot 0 cannot be read"),
        ("POSCAR", "one line\n", "snapshot 0 cannot be read"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=complaint) as caught:
        read_snapshots(path, needs_dos=False)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="none.xyz: there is no such file"):
        read_snapshots(tmp_path / "none.xyz")


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=4))
def test_damaged_files_give_nothing_but_input_errors(tmp_path_factory, place, damage):
    folder = tmp_path_factory.mktemp("damaged")
    ase.io.write(folder / "a.extxyz", [molecule(np.arange(24.0)), crystal()])
    content = bytearray((folder / "a.extxyz").read_bytes())
    content[place : place + len(damage)] = damage
    path = folder / "b.extxyz"
    path.write_bytes(content)
    try:
        assert len(read_snapshots(path, GRID)) >= 1
    except InputError as error:
        assert str(error).startswith(str(path))


def test_rebin_keeps_the_electrons_of_every_bin():
    rng = np.random.default_rng(1)
    energies = np.append(np.sort(rng.uniform(-9.5, 2.5, 199)), 2.6)
    cumulative = np.cumsum(rng.random(200))
    cumulative -= cumulative[0]
    dos = rebin(energies, cumulative, GRID, "x")
    at_edges = np.interp(GRID.edges, energies, cumulative)
    np.testing.assert_allclose(np.cumsum(dos) * GRID.width, at_edges[1:], **EXACT)
    shifted = rebin(energies - 3, cumulative, GRID, "x", offset=3.0)
    np.testing.assert_allclose(shifted, dos, **EXACT)
    # a DOS that is on the grid already stays as it is
    values = rng.random(24)
    states = np.concatenate([[0], np.cumsum(values) * GRID.width])
    np.testing.assert_allclose(rebin(GRID.edges, states, GRID, "x"), values, **EXACT)


@pytest.mark.parametrize(
    ("energies", "cumulative", "complaint"),
    [
        ([-10.0], [0.0], "x has a DOS of 1 energies; it takes at least two"),
        ([-10.0, -9.0, -9.0], [0.0, 1.0, 2.0], "x has a DOS whose energies do not ascend"),
        ([-10.0, np.nan], [0.0, 1.0], "x has a DOS with a number that is NaN or infinite"),
        ([-9.0, 1.4], [0.0, 7.0], "x has a DOS that ends at 1.4 eV, below the end of the energy grid at 2 eV"),
        ([-14.0, 0.0], [0.0, 7.0], "x has 2 electrons below the energy grid, which starts at -10 eV"),
    ],
)
def test_refuses_a_dos_that_cannot_be_binned(energies, cumulative, complaint):
    with pytest.raises(InputError, match=complaint):
        rebin(energies, cumulative, GRID, "x")


@pytest.mark.parametrize(("split", "count"), [("val", 320), ("test", 160)])
def test_the_built_in_carbon_data(split, count):
    snapshots = carbon_snapshots(split)
    assert len(snapshots) == count
    sizes = dict(zip(snapshots.structures, snapshots.num_atoms.tolist(), strict=True))
    assert sizes == {
        **{"C20": 20, "C40": 40, "C60": 60, "Graphene": 128, "Graphite": 108},
        **{"C_6_4": 152, "C_8_0": 128, "C_9_9": 144},
    }
    assert all(snapshots.structures.count(name) == count // 8 for name in sizes)
    assert {item.temperature for item in snapshots} == {300.0, 600.0}
    assert (snapshots.num_electrons == 4 * snapshots.num_atoms).all()
    check_elements(snapshots, [6])
    directions = {item.structure: int(item.pbc.sum()) for item in snapshots}
    assert directions["Graphene"] == 2
    assert directions["Graphite"] == 3
    assert directions["C60"] == 0
    assert directions["C_9_9"] == 1
    assert snapshots[3].name == f"built-in carbon ({split}): snapshot 3"


def test_the_carbon_data_travel_with_their_own_licence():
    import csgnn_dgl.data.atoms.carbon as carbon

    folder = Path(carbon.__file__).parent
    assert "CC BY-SA 4.0" in (folder / "LICENSE").read_text()
    assert "Not DFT" in (folder / "README.md").read_text()
    with pytest.raises(InputError, match="the built-in carbon data: split is 'all'; give 'train', 'val' or 'test'"):
        carbon_snapshots("all")


def test_one_door(tmp_path):
    assert len(load_snapshots("builtin", "test")) == 160
    for split, size in (("train", 3), ("val", 2)):
        ase.io.write(tmp_path / f"{split}.extxyz", [molecule()] * size)
    assert len(load_snapshots(tmp_path, "train", GRID)) == 3
    assert len(load_snapshots(str(tmp_path), "val", GRID)) == 2
    (tmp_path / "val.xyz").write_text(GOOD)
    for source, split, facts, complaint in (
        (tmp_path, "valid", {}, "split is 'valid'; give 'train', 'val' or 'test'"),
        (tmp_path, "val", {}, "both val.extxyz and val.xyz are there; keep one"),
        (tmp_path, "train", {"offset": 2.0}, "an offset of 2 eV is set, but its DOS is on the grid"),
        (tmp_path, "test", {}, "neither test.extxyz .or .xyz, or packed. nor Test.csv is there"),
        (tmp_path / "none", "train", {}, "none' is no folder; give 'builtin', or a folder with train.extxyz"),
        ("caf\udce9", "train", {}, r"caf\\xe9: the name is not in UTF-8; rename it"),
        ("builtin", "train", {"grid": GRID}, "the built-in data are on 310 bins"),
    ):
        with pytest.raises(InputError, match=complaint):
            load_snapshots(source, split, **facts)


def test_snapshots_are_frozen():
    item = from_atoms(molecule(), GRID)[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        item.num_electrons = 3  # type: ignore[misc]
    assert isinstance(item, Snapshot)


GAP = np.repeat([0.0, 2.0, 0.0, 1.0], [4, 8, 6, 6])  # 8 electrons from -8 to -4 eV, a gap to -1 eV


@pytest.mark.parametrize("level", [-4.0, -3.9, -2.5, -1.1, -4.1, -0.95])
def test_a_stored_fermi_level_may_lie_anywhere_in_a_gap(level: float) -> None:
    assert from_atoms(molecule(GAP, fermi_level=level), GRID)[0].fermi_level == level


@pytest.mark.parametrize(
    ("wrong", "electrons"),
    [
        ({"fermi_level": -5.0}, "6 electrons, and there are 8;"),  # a moved zero
        ({"fermi_level": 0.0}, "9 electrons, and there are 8;"),
        ({"fermi_level": -4.0, "num_electrons": 7}, "8 electrons, and there are 7;"),  # a charge
        ({"fermi_level": -4.0, "num_electrons": 10}, "8 electrons, and there are 10;"),  # another cell
        ({"fermi_level": -4.0, "dos": GAP + np.eye(24)[0] * 8}, "12 electrons, and there are 8;"),  # semicore
    ],
)
def test_a_stored_fermi_level_that_contradicts_dos_and_count_is_refused(wrong: Any, electrons: str) -> None:
    atoms = molecule(GAP)
    atoms.info.update(wrong)
    with pytest.raises(InputError, match=rf"^atoms: snapshot 0: the stored Fermi level is .* holds {electrons}.*mend"):
        from_atoms(atoms, GRID, needs_dos=True)


def test_a_stored_fermi_level_beyond_the_grid_is_refused() -> None:
    atoms = molecule(np.where(np.arange(24) < 12, GAP, 0.0), fermi_level=0.1)
    assert from_atoms(atoms, GRID)[0].fermi_level == 0.1  # in a gap that the grid does not see the end of
    atoms.info["fermi_level"] = 2.5
    with pytest.raises(InputError, match="the stored Fermi level is 2.5 eV, above the end of the energy grid at 2 eV"):
        from_atoms(atoms, GRID, needs_dos=True)


def test_the_built_in_fermi_levels_agree_with_their_dos() -> None:
    for item in carbon_snapshots("val")[::40]:
        assert item.dos is not None and item.fermi_level is not None and item.num_electrons is not None
        states = np.append(0.0, np.cumsum(item.dos)) * item.grid.width
        assert item.fermi_level == approx(np.interp(item.num_electrons, states, item.grid.edges), **printed(3))


def test_a_charge_is_taken_off_the_valence_electrons() -> None:
    assert from_atoms(molecule(None, None, charge=1), GRID)[0].num_electrons == 7
    assert from_atoms(molecule(None, None, charge=-1.0), GRID)[0].num_electrons == 9
    assert from_atoms(molecule(None, 9, charge=-1), GRID)[0].num_electrons == 9
    with pytest.raises(InputError, match="has charge = 1 and num_electrons = 8, that of the neutral cell; mend one"):
        from_atoms(molecule(None, 8, charge=1), GRID)
    with pytest.raises(InputError, match="has charge = 'plus'; give a number"):
        from_atoms(molecule(None, 8, charge="plus"), GRID)


@pytest.mark.parametrize(
    ("foreign", "told"),
    [
        ({"dos": np.ones(7)}, r"has a DOS of shape \(7,\), but the energy grid has 24 bins"),
        ({"dos": 0.5 * np.ones(24)}, "the DOS holds 6 electrons up to 2 eV, but there are 8 electrons"),
        ({"temperature": "hot"}, "has temperature = 'hot'"),
        ({"fermi_level": 1.0}, "the stored Fermi level is 1 eV"),
    ],
)
def test_a_prediction_passes_over_what_it_does_not_need(foreign: Any, told: str, caplog: Any) -> None:
    atoms = molecule(GAP)
    atoms.info.update(foreign)
    (found,) = from_atoms(atoms, GRID)
    assert (found.dos, found.num_electrons, found.num_atoms) == (None, 8, 2)
    (message,) = caplog.messages
    assert re.match(rf"atoms: what the prediction does not need is passed over \({told}", message)
    with pytest.raises(InputError, match=told):
        from_atoms(atoms, GRID, needs_dos=True)


def test_a_temperature_may_have_its_unit() -> None:
    assert from_atoms(molecule(GAP, temperature="300 K"), GRID, needs_dos=True)[0].temperature == 300


def test_mistakes_of_the_atoms_stay_mistakes_of_a_prediction() -> None:
    atoms = molecule(np.ones(7), distance=0.05)
    with pytest.raises(InputError, match="atoms 0 and 1 are only"):
        from_atoms(atoms, GRID)


CIF = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{}
"""


@pytest.mark.parametrize(
    ("sites", "complaint"),
    [
        ("C1 C 0 0 0 0.5\nC2 C 0.5 0.5 0.5 1.0", "a site of partial occupancy .C 0.5.; give an ordered structure"),
        ("C1 C 0 0 0 0.5\nSi1 Si 0 0 0 0.5", "a site of partial occupancy .*; give an ordered structure"),
    ],
)
def test_partial_occupancy_is_refused(tmp_path: Path, sites: str, complaint: str) -> None:
    (tmp_path / "a.cif").write_text(CIF.format(sites))
    with pytest.raises(InputError, match=complaint):
        read_snapshots(tmp_path / "a.cif", GRID, needs_dos=False)
    (tmp_path / "c.cif").write_text(CIF.format("C1 C 0 0 0 ?"))
    with pytest.raises(InputError, match="c.cif: .* the occupancy of a site has C = '[?]'; give a number"):
        read_snapshots(tmp_path / "c.cif", GRID, needs_dos=False)
    (tmp_path / "b.cif").write_text(CIF.format("C1 C 0 0 0 1.0\nC2 C 0.5 0.5 0.5 ."))
    assert read_snapshots(tmp_path / "b.cif", GRID, needs_dos=False)[0].num_atoms == 2


DIAMOND = CIF.format("C1 C 0.125 0.125 0.125 1").replace("P 1", "F d -3 m")
OPERATIONS = """loop_
_space_group_symop_operation_xyz
x,y,z
-x,-y,-z
x,y+1/2,z+1/2
x+1/2,y,z+1/2
x+1/2,y+1/2,z
-x,-y+1/2,-z+1/2
-x+1/2,-y,-z+1/2
-x+1/2,-y+1/2,-z
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (DIAMOND, "the space group F d -3 m has two origins, and it does not say which; write its operations"),
        (CIF.format("C1 C 0 0 0.1 1").replace("P 1", "P 1 21/n 1"), "cannot be read|the space group P 1 21/n 1 is in"),
        (
            CIF.format("C1 C 0 0 0.1 1").replace("'P 1'", "'P 1 21/n 1'\n_symmetry_Int_Tables_number 14"),
            "the space group P 1 21/n 1 is in a setting other than that of number 14",
        ),
        (CIF.format("C1 C 0 0 0.1 1").replace("P 1", "R -3 m"), "the space group R -3 m has other axes than the cell"),
    ],
)
def test_a_space_group_that_leaves_the_atoms_open_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "a.cif").write_text(text)
    with pytest.raises(InputError, match=f"a.cif: .*({complaint})"):
        read_snapshots(tmp_path / "a.cif", GRID, needs_dos=False)


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "latin-1"])
def test_a_cif_is_read_by_its_operations(tmp_path: Path, code: str) -> None:
    text = DIAMOND.replace("loop_", f"{OPERATIONS}loop_").replace("data_x", "data_x\n_publ_author_name 'M\u00fcller'")
    (tmp_path / "a.cif").write_bytes(text.encode(code))
    (found,) = read_snapshots(tmp_path / "a.cif", GRID, needs_dos=False)
    atoms = Atoms(found.numbers, found.positions, cell=found.cell, pbc=True)
    assert found.numbers.tolist() == [6] * 8
    assert np.sort(atoms.get_all_distances(mic=True)[0])[1] == approx(3**0.5, **ROUNDED)
    cell = CIF.format("C1 C 0 0.1 0.2 1").replace("P 1", "P 21/c").encode(code)
    (tmp_path / "b.cif").write_bytes(cell)
    assert read_snapshots(tmp_path / "b.cif", GRID, needs_dos=False)[0].num_atoms == 4


HEAD = 'Lattice="4 0 0 0 4 0 0 0 5" Properties=species:S:1:pos:R:3'


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["C", "C1", "13C", "6", "c", "C_2", "C12"]),
    st.sampled_from(["pbc", "PBC", "Pbc"]),
    st.sampled_from(["Lattice", "lattice", "LATTICE"]),
    st.sampled_from(["species:S:1:pos:R:3", "id:I:1:species:S:1:pos:R:3", "pos:R:3:species:S:1"]),
    st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_dialect_of_extended_xyz_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, symbol: str, pbc: str, lattice: str, properties: str, code: str, eol: str
) -> None:
    words = {"species": [symbol], "id": ["7"]}
    rows = []
    for x in ("0.5", "1.75"):
        words["pos"] = [x, "0", "1"]
        rows.append(" ".join(word for name in properties.split(":")[::3] for word in words[name]))
    keys = f'{lattice}="4 0 0 0 4 0 0 0 5" {pbc}="T F T" Properties={properties} structure=Gr\u00e4phen'
    path = tmp_path_factory.mktemp("xyz") / "a.xyz"
    path.write_bytes(eol.join(["2", keys, *rows, "2", keys, *rows, ""]).encode(code))
    for found in read_snapshots(path, GRID, needs_dos=False):
        assert found.numbers.tolist() == [6, 6]
        np.testing.assert_array_equal(found.positions, [[0.5, 0, 1], [1.75, 0, 1]])
        np.testing.assert_array_equal(
            np.diagonal(found.cell), [4, 0, 5] if not found.pbc[1] and not found.cell[1].any() else [4, 4, 5]
        )
        assert found.pbc.tolist() == [True, False, True]
        assert found.structure == "Gr\u00e4phen"


def test_a_species_that_is_no_element_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(f"1\n{HEAD}\nQq 0 0 0\n")
    with pytest.raises(InputError, match="a.xyz: the species 'Qq' in line 3 is no element; write"):
        read_snapshots(tmp_path / "a.xyz", GRID, needs_dos=False)
