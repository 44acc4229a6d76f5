"""Damaged files that were once not dealt with."""

import contextlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import laspy
import numpy as np
import pytest
import trimesh
from ase.build import bulk

from csgnn_dgl.data import read_cloud, read_modelnet40, read_snapshot_folders, read_structures
from csgnn_dgl.errors import InputError
from tests.reliability.fuzzing import DOSCAR, POSCAR


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_a_scan_with_thousands_of_millions_of_records(suffix, tmp_path):
    cloud = laspy.create(point_format=0, file_version="1.2")
    cloud.x, cloud.y, cloud.z = np.random.default_rng(0).normal(size=(3, 40))
    path = tmp_path / f"a.{suffix}"
    cloud.write(path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 100, 2**31)
    path.write_bytes(content)
    with pytest.raises(InputError, match="2147483648 records are announced"):
        read_cloud(path)


def test_a_packed_scan_with_thousands_of_millions_of_chunks(tmp_path):
    cloud = laspy.create(point_format=0, file_version="1.2")
    cloud.x, cloud.y, cloud.z = np.random.default_rng(0).normal(size=(3, 40))
    cloud.write(tmp_path / "a.laz")
    assert read_cloud(tmp_path / "a.laz", 40).shape == (40, 3)
    content = bytearray((tmp_path / "a.laz").read_bytes())
    (start,) = struct.unpack_from("<I", content, 96)
    (table,) = struct.unpack_from("<q", content, start)
    struct.pack_into("<I", content, table + 4, 2**29)
    (tmp_path / "a.laz").write_bytes(content)
    with pytest.raises(InputError, match="536870912 chunks are announced"):
        read_cloud(tmp_path / "a.laz")


def test_a_site_whose_occupancy_is_no_number(tmp_path):
    bulk("C").write(tmp_path / "a.cif")
    text = (tmp_path / "a.cif").read_text()
    assert text.count("1.0000") == 2
    (tmp_path / "a.cif").write_text(text.replace("1.0000", "[[[["))
    with pytest.raises(InputError, match=r"a.cif: .* site has C = '\[\[\[\['; give a number"):
        read_structures(tmp_path / "a.cif")


@pytest.mark.parametrize("suffix", ["off", "obj"])
def test_a_face_that_names_a_vertex_beyond_all_integers(suffix: str, tmp_path: Path) -> None:
    text = trimesh.creation.icosphere(0).export(file_type=suffix)
    lines = text.rstrip().split("\n")
    words = lines[-1].split()
    (tmp_path / f"a.{suffix}").write_text("\n".join([*lines[:-1], " ".join([*words[:-1], "9" * 30])]) + "\n")
    with pytest.raises(InputError, match="names vertex 9{30}, "):
        read_cloud(tmp_path / f"a.{suffix}")


def test_a_number_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0" + "<a>" * 2000 + "\n3 0 1 2\n")
    with pytest.raises(InputError, match="not a complete OFF file") as raised:
        read_cloud(tmp_path / "a.off")
    assert len(str(raised.value)) < 400 + len(str(tmp_path))


def test_a_mesh_with_a_signalling_nan(tmp_path: Path) -> None:
    content = bytearray(trimesh.creation.icosphere(0).export(file_type="stl"))
    struct.pack_into("<I", content, 84 + 12, 0x7F800001)
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(InputError, match="a.stl: .*(NaN|finite)"):
        read_cloud(tmp_path / "a.stl")


def test_a_packed_scan_whose_table_of_chunks_is_damaged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cloud = laspy.create(point_format=0, file_version="1.2")
    cloud.x, cloud.y, cloud.z = np.random.default_rng(0).normal(size=(3, 40))
    cloud.write(tmp_path / "a.laz")
    whole = (tmp_path / "a.laz").read_bytes()
    (table,) = struct.unpack_from("<q", whole, struct.unpack_from("<I", whole, 96)[0])
    for place in range(table + 8, len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            (tmp_path / "a.laz").write_bytes(content)
            with contextlib.suppress(InputError):
                assert read_cloud(tmp_path / "a.laz", 40).shape == (40, 3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [-1, 119, 2**40])
def test_an_atom_of_an_element_that_there_is_not(number: int, tmp_path: Path) -> None:
    bulk("C").write(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    content["1"]["numbers"] = [6, number]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"a.json: snapshot 0 has an atom of number {number}; give atomic numbers"):
        read_structures(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "line", "read"),
    [("train_files.txt", "{}.h5", read_modelnet40), ("Train.csv", "path\na/300K/{}", read_snapshot_folders)],
)
def test_a_list_that_names_a_file_of_a_thousand_letters(
    name: str, line: str, read: Callable[[Path, str], object], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(line.format("a" * 1000) + "\n")
    with pytest.raises(InputError, match="there is no such file"):
        read(tmp_path, "train")


def test_a_dos_of_infinitely_many_energies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "POSCAR").write_text(POSCAR)
    (tmp_path / "DOSCAR").write_text(DOSCAR.replace("   41  ", "  1e999"))
    assert len(read_structures(tmp_path / "DOSCAR")) == 1
    assert "passed over (NEDOS in the sixth line is 1e999; give VASP's file.)" in caplog.text
