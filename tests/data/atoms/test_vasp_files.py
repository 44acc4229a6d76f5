"""The dialects of DOSCAR and vasprun.xml, against spectra that are known exactly."""

import bz2
import gzip
import lzma
from collections.abc import Callable

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from csgnn_dgl.data import Snapshots, load_snapshots, read_structures, read_vasp
from csgnn_dgl.data.atoms.structures import read_atoms
from csgnn_dgl.data.atoms.vasp.numbers import numbers_in
from csgnn_dgl.electronic import EnergyGrid, fermi_level
from csgnn_dgl.errors import InputError
from tests.data.atoms.vasp_files import (
    Spectrum,
    diamond,
    dos_element,
    doscar_text,
    fortran,
    vasprun_text,
    write_doscar,
)
from tests.tolerances import EXACT, TOLERANCE, approx, printed, relative

GRID = EnergyGrid(-12.0, 0.1, 200)
ENERGIES = np.linspace(-14.0, 9.0, 1151)
PACK: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


NEARLY = 1 - 1e-4
"""Share of the electrons up to which levels are compared: the tail of a band of Gaussian levels ends nowhere."""


def level_of(snapshots: Snapshots) -> float:
    """The Fermi level that the package finds."""
    (snapshot,) = snapshots
    assert snapshot.dos is not None
    filled = (snapshot.num_electrons or 0.0) * NEARLY
    return float(fermi_level(torch.from_numpy(snapshot.dos), filled, snapshot.grid))


def small() -> Spectrum:
    """A cell of two atoms: four filled levels below a gap, and empty ones."""
    return Spectrum(np.array([-9.3, -4.1, -2.2, -1.7, 3.4, 4.0, 5.5, 6.1]), 2.0, 0.1)


def semimetal(atoms: int = 3040) -> Spectrum:
    """A cell with few states about the Fermi level, as graphene has."""
    filled = 2 * atoms
    below = -0.4 - 10 * np.sqrt((np.arange(filled) + 0.5) / filled)
    above = -0.4 + 4 * np.sqrt((np.arange(filled // 5) + 0.5) / (filled // 5))
    return Spectrum(np.concatenate([below, above]), 2.0, 0.05)


def insulator(atoms: int = 3040, sigma: float = 0.02) -> Spectrum:
    """A cell with a gap from -1 to 1.5 eV."""
    rng = np.random.default_rng(0)
    return Spectrum(np.concatenate([rng.uniform(-10, -1, 2 * atoms), rng.uniform(1.5, 6, atoms // 3)]), 2.0, sigma)


def binned_level(spectrum: Spectrum, electrons: float) -> float:
    """The Fermi level of the exact numbers of states in the bins."""
    dos = np.diff(spectrum.states(GRID.edges), prepend=0)[1:] / GRID.width
    return float(fermi_level(torch.from_numpy(dos), electrons * NEARLY, GRID))


def test_numbers_as_fortran_writes_them():
    for text, wanted in (
        (" 1.5 -2", [(1.5, 0.1), (-2, 1)]),
        ("0.1234E+02-0.1234E-02", [(12.34, 1e-2), (-0.001234, 1e-6)]),
        ("0.1234-100  0.1234+100", [(0.1234e-100, 1e-104), (0.1234e100, 1e96)]),
        ("-12.467-100.123", [(-12.467, 1e-3), (-100.123, 1e-3)]),
        ("0.1234E+02 0.5678E+03", [(12.34, 1e-2), (567.8, 0.1)]),
        ("0.1234E+020.5678E+03", [(12.34, 1e-2), (567.8, 0.1)]),
        ("1.25D-03 .5 5. 1e3", [(0.00125, 1e-5), (0.5, 0.1), (5, 1), (1000, 1000)]),
    ):
        found = numbers_in(text)
        assert [value for value, _ in found] == approx([value for value, _ in wanted], **EXACT)
        assert [unit for _, unit in found] == approx([unit for _, unit in wanted], **relative(EXACT))
    ((value, unit),) = numbers_in(" *********")
    assert np.isnan(value) and np.isinf(unit)
    with pytest.raises(ValueError, match="'x' is no number"):
        numbers_in("1.0 x 2.0")


@pytest.mark.parametrize("kind", ["steps", "points"])
@pytest.mark.parametrize("make", [semimetal, insulator])
def test_3040_atoms(tmp_path, make, kind):
    """The integrated DOS has four digits, 12,160 to the nearest ten: alone it is off by tenths of an eV."""
    spectrum = make()
    table = spectrum.table(np.linspace(-14.0, 9.0, 2301), kind)
    level = spectrum.fermi_level(12160)
    path = write_doscar(tmp_path, doscar_text(table, level, 3040))
    snapshots = read_vasp(path, GRID, valences={"C": 6080})
    assert level_of(snapshots) == approx(binned_level(spectrum, 12160), **printed(2))
    states = np.cumsum(snapshots.dos[0]) * GRID.width
    assert np.abs(states - spectrum.states(GRID.edges[1:])).max() < 0.8
    # the integrated DOS as it is written
    written = np.array([numbers_in(fortran(value))[0][0] for value in table[:, 2]])
    assert np.abs(written - table[:, 2]).max() > 4.9
    assert abs(np.interp(12160 - 1e-3, written, table[:, 0]) - level) > 0.05


@pytest.mark.parametrize("step", [0.01, 0.04])
@pytest.mark.parametrize("kind", ["steps", "points"])
def test_what_the_dos_column_is_is_found_out(tmp_path, kind, step):
    """The rise over the step before, or the DOS at the energy: read as the other, all is half a step off."""
    spectrum = Spectrum(semimetal().levels, 2.0, 0.2)
    table = spectrum.table(np.arange(-14.0, 9.0, step), kind)
    level = spectrum.fermi_level(12160)
    (snapshot,) = read_vasp(write_doscar(tmp_path, doscar_text(table, level, 3040)), GRID, valences={"C": 6080})
    assert snapshot.dos is not None
    exact = np.diff(spectrum.states(GRID.edges))
    means = [np.average(GRID.centres, weights=each) for each in (snapshot.dos, exact)]
    assert abs(means[0] - means[1]) * 100 < step


@pytest.mark.parametrize("kind", ["steps", "points"])
def test_peaks_narrower_than_the_steps(tmp_path, kind):
    """Where no reading of the DOS counts the electrons, as with tetrahedra, the integrated DOS does."""
    spectrum = Spectrum(np.repeat(np.linspace(-10, -1, 10), 608), 2.0, 0.003)
    table = spectrum.table(np.arange(-14.0, 9.0, 0.0497), kind)
    path = write_doscar(tmp_path, doscar_text(table, 0.3, 3040))
    (snapshot,) = read_vasp(path, GRID, valences={"C": 6080})
    assert snapshot.dos is not None
    found = np.cumsum(snapshot.dos)[4::10] * GRID.width  # between the levels
    assert np.abs(found - spectrum.states(GRID.edges[5::10])).max() < 4.5
    assert found[-1] == approx(12160, **relative(TOLERANCE[torch.float64]))
    small = Spectrum(spectrum.levels[::1520], 2.0, 0.003)  # four levels, whose digits say all
    table = small.table(np.arange(-14.0, 9.0, 0.0497), kind)
    (snapshot,) = read_vasp(write_doscar(tmp_path, doscar_text(table, 0.3)), GRID)
    assert snapshot.dos is not None
    found = np.cumsum(snapshot.dos)[4::10] * GRID.width
    assert found == approx(small.states(GRID.edges[5::10]), **printed(3))


def dialects(text: str, spins: int) -> dict[str, bytes]:
    """The same DOSCAR as different programs and people leave it."""
    lines = text.splitlines()
    head = lines[5]
    return {
        "plain": text.encode(),
        "windows": text.replace("\n", "\r\n").encode(),
        "marked": b"\xef\xbb\xbf" + text.encode(),
        "latin-1": text.replace(" diamond", " Graphit (Ångström)").encode("latin-1"),
        "no name": "\n".join([*lines[:4], "", *lines[5:]]).encode(),
        "stripped": "\n".join(line.strip() for line in lines).encode(),
        "tabs": "\n".join("\t".join(line.split()) for line in lines).encode(),
        "D": "\n".join([*lines[:6], *(line.replace("E", "D") for line in lines[6:])]).encode(),
        "cut after the total": "\n".join(lines[: 6 + int(head[32:37])]).encode(),
        "blank end": (text + "\n \n").encode(),
        "no integrated": "\n".join(
            line if i < 6 or i >= 6 + int(head[32:37]) else line[: 11 + 12 * spins] + ("   " + "*" * 9) * spins
            for i, line in enumerate(lines)
        ).encode(),
        **{suffix: pack(text.encode()) for suffix, pack in PACK.items()},
    }


@pytest.mark.parametrize("spins", [1, 2])
def test_a_doscar_reads_the_same_in_every_dialect(tmp_path, spins):
    spectrum = small()
    table = spectrum.table(ENERGIES)
    if spins == 2:
        table = np.column_stack([table[:, 0], *(table[:, [1, 1, 2, 2]] / 2).T])
    text = doscar_text(table, 0.5)
    assert "-1" in text and "E-1" not in text.split("-1", 1)[0]
    exact = np.diff(spectrum.states(GRID.edges)) / GRID.width
    for name, content in dialects(text, spins).items():
        folder = tmp_path / name
        path = write_doscar(folder, text)
        path.write_bytes(content)
        if name in PACK:
            path = path.rename(folder / f"DOSCAR{name}")
        for place in (path, folder):
            (snapshot,) = read_vasp(place, GRID)
            assert (snapshot.fermi_level, snapshot.num_electrons, snapshot.num_atoms) == (0.5, 8, 2), name
            assert snapshot.dos == approx(exact, **printed(3)), name
            assert level_of(Snapshots((snapshot,))) == approx(binned_level(spectrum, 8), **printed(3))


def test_exponents_without_e_are_in_these_files():
    assert fortran(1.234e-101) == "  0.1234-100"
    text = doscar_text(small().table(np.linspace(-14.0, 9.0, 2301)), 0.5)
    assert any(len(word.split("-")[-1]) == 3 and "E" not in word for word in text.split() if word.startswith("0.1"))


@pytest.mark.parametrize("count", [20001, 100001])
def test_columns_that_touch_and_energies_that_are_equal(tmp_path, caplog, count):
    """EMIN and NEDOS touch from 10,000 energies on, NEDOS is stars from 100,000 on, and energies are equal."""
    spectrum = small()
    text = doscar_text(spectrum.table(np.linspace(-12.5, 8.5, count)), 0.5)
    head = text.splitlines()[5]
    assert head[:37] == "      8.50000000    -12.50000000" + ("20001" if count < 1e5 else "*****")
    energies = [line[:11] for line in text.splitlines()[6 : 6 + count]]
    assert count < 1e5 or len(set(energies)) < count
    path = write_doscar(tmp_path, text)
    (snapshot,) = read_vasp(path, GRID)
    exact = np.diff(spectrum.states(GRID.edges)) / GRID.width
    assert snapshot.dos == approx(exact, **printed(3))
    assert ("NEDOS has overflown" in caplog.text) == (count > 1e5)
    if count > 1e5:
        path.write_text("\n".join(text.splitlines()[:5000]))
        with pytest.raises(
            InputError, match="NEDOS in the sixth line is .{5}, an overflow, and the last row is not at"
        ):
            read_vasp(path, GRID)
        return
    # the same without the leading spaces
    path.write_text("\n".join(line.strip() for line in text.splitlines()))
    np.testing.assert_array_equal(read_vasp(path, GRID)[0].dos, snapshot.dos)


def test_what_cannot_be_read_of_a_doscar_is_named(tmp_path):
    table = small().table(np.linspace(-14.0, 9.0, 301))
    text = doscar_text(table, 0.5)
    lines = text.splitlines()
    for number, line, complaint in (
        (5, "*" * 16 + lines[5][16:], "EMAX in the sixth line is '\\*+', an overflow"),
        (5, lines[5][:37] + "*" * 16 + lines[5][53:], "the Fermi level in the sixth line is .* an overflow"),
        (20, "*" * 11 + lines[20][11:], "the energy in line 21 is stars, an overflow"),
        (20, lines[20][:11] + "*" * 12 + lines[20][23:], "the DOS in line 21 is stars, an overflow"),
        (20, lines[20][:11] + "*" * 24, "line 21 of the DOS has stars, an overflow"),
        (20, lines[20][:23], "line 21 of the DOS has 2 numbers .* where others have 3"),
        (20, lines[20][:11] + "         NaN" + lines[20][23:], "line 21 of the DOS has a number that is NaN"),
        (20, "what is this", "line 21: 'what' is no number"),
    ):
        path = write_doscar(tmp_path, "\n".join([*lines[:number], line, *lines[number + 1 :]]))
        with pytest.raises(InputError, match=complaint) as caught:
            read_vasp(path, GRID)
        assert str(caught.value).startswith(str(path))
    packed = path.with_name("DOSCAR.gz")
    packed.write_bytes(gzip.compress(text.encode())[:2000])
    with pytest.raises(InputError, match="DOSCAR.gz: the file is damaged or truncated"):
        read_vasp(packed, GRID)


def test_a_window_is_told_from_a_grid(tmp_path):
    """What the calculation has not computed cannot be had by another grid of ours."""
    spectrum = small()
    whole, cut = (doscar_text(spectrum.table(np.linspace(start, 9.0, 1501)), 0.5) for start in (-14.0, -6.0))
    with pytest.raises(InputError, match="2 electrons below its first energy of -6 eV: the window .*EMIN in VASP"):
        read_vasp(write_doscar(tmp_path, cut), GRID)
    with pytest.raises(InputError, match="2 electrons below the energy grid, which starts at -6 eV; start it lower"):
        read_vasp(write_doscar(tmp_path, whole), EnergyGrid(-6.0, 0.1, 100))
    # below a window that begins above the grid there are none
    found = read_vasp(write_doscar(tmp_path, doscar_text(spectrum.table(np.linspace(-10.5, 9, 1501)), 0.5)), GRID)
    assert found.dos[0].sum() * GRID.width == approx(spectrum.states(8.0), **printed(3))


def test_poscar_and_contcar(tmp_path, caplog):
    text = doscar_text(small().table(np.linspace(-14.0, 9.0, 2301)), 0.5)
    path = write_doscar(tmp_path, text)
    atoms = diamond()
    moved = atoms.copy()
    moved.positions[1] += 0.05
    wrapped = atoms.copy()
    wrapped.set_scaled_positions(atoms.get_scaled_positions() + np.array([[0, 1, -1], [0, 0, 1]]))
    for contcar, taken, told in ((wrapped, atoms, False), (moved, moved, True)):
        caplog.clear()
        ase.io.write(tmp_path / "CONTCAR", contcar, format="vasp")
        np.testing.assert_allclose(read_vasp(path, GRID)[0].positions, taken.positions, **printed(8))
        assert (
            "POSCAR and CONTCAR differ, so VASP has moved the atoms: the structure is taken from CONTCAR" in caplog.text
        ) == told
    (tmp_path / "CONTCAR").write_text("")  # as in the first ionic step
    np.testing.assert_allclose(read_vasp(path, GRID)[0].positions, atoms.positions, **printed(8))
    ase.io.write(tmp_path / "CONTCAR", moved, format="vasp")
    (tmp_path / "POSCAR").write_text("broken")
    caplog.clear()
    np.testing.assert_allclose(read_vasp(path, GRID)[0].positions, moved.positions, **printed(8))
    assert "the structure is taken from the other file, because" in caplog.text
    # files with endings belong together
    path.rename(tmp_path / "DOSCAR.relax2")
    ase.io.write(tmp_path / "POSCAR.relax2", atoms, format="vasp")
    (tmp_path / "CONTCAR").unlink()
    np.testing.assert_allclose(read_vasp(tmp_path / "DOSCAR.relax2", GRID)[0].positions, atoms.positions, **printed(8))
    ase.io.write(tmp_path / "POSCAR", atoms, format="vasp")
    path.write_text(doscar_text(small().table(ENERGIES), 0.5, atoms=4))
    caplog.clear()
    read_vasp(path, GRID)
    assert "its first line tells of 4 atoms, but the structure beside it has 2" in caplog.text


def unpacked(content: bytes) -> bytes:
    """Leave it as it is."""
    return content


def other_spectrum() -> Spectrum:
    """The same cell at the k points of a path."""
    return Spectrum(small().levels + 1.0, 2.0, 0.1)


@pytest.mark.parametrize("spins", [1, 2])
def test_a_vasprun_reads_the_same_in_every_dialect(tmp_path, spins, caplog):
    """The DOS of the calculation itself, whatever stands beside it; and as the DOSCAR."""
    spectrum = small()
    table, other = spectrum.table(ENERGIES), other_spectrum().table(ENERGIES)
    if spins == 2:
        table = np.column_stack([table[:, 0], *(table[:, [1, 1, 2, 2]] / 2).T])
    own = dos_element(table, 0.5)
    path_dos = dos_element(other, 1.5, ' comment="kpoints_opt"')
    inside = dos_element(other, 1.5)
    atoms = diamond()
    bodies = {
        "alone": own,
        "before": path_dos + own,
        "after": own + path_dos,
        "both": dos_element(other, 1.5, ' comment="non-uniform k points"') + own + path_dos,
        "inside": own + f"<eigenvalues_kpoints_opt>{inside}</eigenvalues_kpoints_opt>",
        "inside before": f'<dos_kpoints_path comment="path">{inside}</dos_kpoints_path>' + own,
        "more digits": dos_element(table, 0.5, digits=6),
    }
    texts = {name: vasprun_text([(atoms, body)]) for name, body in bodies.items()}
    texts["four sets"] = texts["alone"]
    if spins == 1:  # non-collinear: the magnetisation has sets of its own
        begin, end = own.index('<set comment="spin 1">'), own.index("</set>\n</set>") + 7
        one = own[begin:end]
        sets = one + "".join(one.replace("spin 1", f"spin {k}") for k in (2, 3, 4))
        texts["four sets"] = vasprun_text([(atoms, own[:begin] + sets + own[end:])])
    texts["moved on"] = texts["alone"].replace(
        "</modeling>", f'<kpoints comment="kpoints_opt"></kpoints>{inside}</modeling>'
    )
    exact = np.diff(spectrum.states(GRID.edges)) / GRID.width
    for name, text in texts.items():
        for suffix, pack in {"": unpacked, **PACK}.items():
            if suffix and name not in ("alone", "both"):
                continue
            folder = tmp_path / f"{name}{suffix}"
            folder.mkdir()
            path = folder / f"vasprun.xml{suffix}"
            path.write_bytes(pack(text.encode("latin-1")))
            for place in (path, folder):
                caplog.clear()
                (snapshot,) = read_vasp(place, GRID)
                assert (snapshot.fermi_level, snapshot.num_electrons) == (0.5, 8), name
                assert snapshot.dos == approx(exact, **printed(3)), name
                np.testing.assert_allclose(snapshot.positions, atoms.positions, **printed(7))
                assert ("k points" in caplog.text) == (name not in ("alone", "more digits", "four sets"))
    (doscar,) = read_vasp(write_doscar(tmp_path, doscar_text(table, 0.5)), GRID)
    assert doscar.dos == approx(exact, **printed(3))


def relaxation() -> list[Atoms]:
    steps = [diamond() for _ in range(3)]
    for i, atoms in enumerate(steps):
        atoms.positions[1] += 0.05 * i
        atoms.set_cell(atoms.cell.array * (1 + 0.01 * i), scale_atoms=True)
    return steps


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_dos_goes_with_its_own_ionic_step(tmp_path, place, caplog):
    """The structure of its step as ase reads it, not the last one of the file."""
    body = dos_element(small().table(ENERGIES), 0.5)
    steps = relaxation()
    path = tmp_path / "vasprun.xml"
    path.write_text(vasprun_text([(atoms, body if i == place else "") for i, atoms in enumerate(steps)]))
    (snapshot,) = read_vasp(path, GRID)
    wanted = read_atoms(path, "vasp-xml")[place]
    np.testing.assert_allclose(snapshot.positions, wanted.positions, **printed(7))
    np.testing.assert_allclose(snapshot.cell, wanted.cell.array, **printed(7))
    assert f"the DOS is that of ionic step {place + 1} of 3" in caplog.text
    # a prediction is made for every step
    steps_read = read_structures(path, GRID)
    assert [item.dos is None for item in steps_read] == [i != place for i in range(3)]
    for item, atoms in zip(steps_read, steps, strict=True):
        np.testing.assert_allclose(item.positions, atoms.positions, **printed(7))
        assert item.num_electrons == 8


def test_what_cannot_be_read_of_a_vasprun_is_named(tmp_path, caplog):
    table = small().table(np.linspace(-14.0, 9.0, 301))
    own, atoms = dos_element(table, 0.5), diamond()
    good = vasprun_text([(atoms, own)])
    row = own.splitlines()[10]
    assert row.startswith("<r>")
    path = tmp_path / "vasprun.xml"
    for text, complaint in (
        (vasprun_text([(atoms, dos_element(table, 1e9))]), "the Fermi level .efermi. is '\\*+', an overflow"),
        (vasprun_text([(atoms, own)], "*" * 12), "the number of electrons .NELECT. is '\\*+', an overflow"),
        (good.replace(row, "<r>" + row[3:13] + "*" * 10 + row[23:]), "the DOS in row 8 is stars, an overflow"),
        (good.replace(row, "<r>" + "*" * 10 + row[13:]), "the energy in row 8 is stars, an overflow"),
        (
            good.replace("0.00000000       0.00000000 </v>", "0.00000000******************</v>"),
            "the positions of ionic step 1 is '0.0.*', an overflow",
        ),
        (good.replace(row, row[:23] + "</r>"), "row 8 of spin 1 of the DOS has 2 numbers"),
        (good.replace("<c>C </c>", "<c>Qq</c>"), "'Qq' is no element"),
        (
            good.replace("<dos>", '<dos comment="kpoints_opt">'),
            "no total DOS of the calculation itself, only one marked",
        ),
        (good[: len(good) // 2], "not a complete vasprun.xml"),
    ):
        assert text != good
        path.write_text(text)
        with pytest.raises(InputError, match=complaint) as caught:
            read_vasp(path, GRID)
        assert str(caught.value).startswith(str(path)), complaint
    path.with_name("vasprun.xml.xz").write_bytes(lzma.compress(good.encode())[:-200])
    with pytest.raises(InputError, match="vasprun.xml.xz: not a complete vasprun.xml"):
        read_vasp(path.with_name("vasprun.xml.xz"), GRID)
    # what a prediction does not need does not stop it
    path.write_text(vasprun_text([(atoms, dos_element(table, 1e9))]))
    assert read_structures(path, GRID)[0].dos is None
    assert "its DOS, which a prediction does not need, is passed over (the Fermi level" in caplog.text


def test_folders_without_a_calculation_are_named(tmp_path):
    ase.io.write(tmp_path / "POSCAR", diamond(), format="vasp")
    for read in (read_vasp, read_structures):
        with pytest.raises(InputError, match=f"{tmp_path}: neither vasprun.xml nor DOSCAR is in this folder; give"):
            read(tmp_path)


def test_calculations_are_a_source(tmp_path):
    body = dos_element(small().table(ENERGIES), 0.5)
    text = vasprun_text([(diamond(), body)])
    source = tmp_path / "data"
    for name, kind in (
        ("train/diamond/1", "xml"),
        ("train/diamond/2", "doscar"),
        ("train/other", "xml"),
        ("val/diamond/3", "xml"),
    ):
        (source / name).mkdir(parents=True)
        if kind == "xml":
            (source / name / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
        else:
            write_doscar(source / name, doscar_text(small().table(ENERGIES), 0.5))
    (source / "test.xml").write_text(text)
    train = load_snapshots(source, "train", GRID)
    assert train.structures == ("diamond", "diamond", "other")
    assert [item.index for item in train] == [0, 1, 2]
    assert load_snapshots(source, "val", GRID).structures == ("diamond",)
    (test,) = load_snapshots(source, "test", EnergyGrid(-13.0, 0.1, 200), offset=-1.0)
    assert test.fermi_level == -0.5
    assert test.dos == approx(train.dos[0], **printed(3))
    for place in (source / "train" / "other", source / "train" / "other" / "vasprun.xml.gz", source / "test.xml"):
        (test,) = load_snapshots(place, "test", GRID)
        np.testing.assert_array_equal(test.dos, train.dos[2])
        with pytest.raises(InputError, match="one calculation can be the test set only; put those for 'train'"):
            load_snapshots(place, "train", GRID)
