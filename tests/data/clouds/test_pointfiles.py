import struct
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from csgnn_dgl.data import read_cloud
from csgnn_dgl.data.clouds.formats import READERS
from csgnn_dgl.errors import InputError
from tests.tolerances import EXACT


def read_points(path: Path) -> np.ndarray:
    points, faces = READERS[path.suffix.lower()](path)
    assert faces is None
    return points


tables = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 8), st.integers(3, 6)),
    elements=st.floats(allow_nan=False, allow_infinity=False),
)


def write(folder: str | Path, name: str, content: str | bytes) -> Path:
    path = Path(folder) / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@settings(deadline=None)
@given(
    tables,
    st.sampled_from([".csv", ".xyz", ".txt", ".XYZ"]),
    st.sampled_from([",", ";", "\t", " ", "  ", ", "]),
    st.sampled_from(["", "x,y,z,r,g,b", "# a comment", '"px","py","pz","r","g","b"']),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.booleans(),
)
def test_text_round_trip(table: np.ndarray, suffix: str, delimiter: str, header: str, newline: str, mark: bool) -> None:
    header = delimiter.join(header.split(",")[: table.shape[1]])
    lines = [header] if header else []
    lines += [delimiter.join(repr(float(value)) for value in row) for row in table]
    text = ("\ufeff" if mark else "") + newline.join([*lines, ""])
    with TemporaryDirectory() as folder:
        np.testing.assert_array_equal(read_points(write(folder, "cloud" + suffix, text)), table[:, :3])


@settings(deadline=None)
@given(tables, st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, ">f4"]))
def test_npy_round_trip(table: np.ndarray, dtype: type) -> None:
    with np.errstate(all="ignore"):
        stored: np.ndarray = table.astype(dtype)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.npy"
        np.save(path, stored)
        np.testing.assert_array_equal(read_points(path), stored[:, :3].astype(np.float64))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200) | st.text('0123456789.eE+-, ;\t\n#"xyzni', max_size=120), st.data())
def test_malformed_point_files_give_nothing_but_input_errors(content: bytes | str, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from([".npy", ".xyz", ".txt", ".csv"]))
    with TemporaryDirectory() as folder:
        path = write(folder, "cloud" + suffix, content)
        try:
            assert read_points(path).shape[1] == 3
            assert np.isfinite(read_cloud(path, 2)).all()
        except InputError as error:
            assert str(error).startswith(str(path))


@settings(deadline=None)
@given(st.integers(0, 300), st.binary(min_size=1, max_size=4))
def test_damaged_npy_files_give_nothing_but_input_errors(place: int, damage: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.npy"
        np.save(path, np.arange(30.0).reshape(10, 3))
        content = bytearray(path.read_bytes())
        content[place : place + len(damage)] = damage
        path.write_bytes(content)
        try:
            assert read_cloud(path, 2).shape == (2, 3)
        except InputError as error:
            assert str(error).startswith(str(path))


WANTED = [[1.0, 2.0, 3.0], [4.5, 5.0, 6.0]]


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3\n4.5 5 6\n",
        "\t1   2\t 3\r\n\r\n4.5 5 6",
        "1\t\t2\t\t3\n4.5\t\t5\t\t6\n",
        "1,2,3,\n4.5,5,6,\n",
        "X [m],Y [m],Z [m]\n1,2,3\n4.5,5,6\n",
        'Points:1;"Points:0";Points:2;Normals:0\n2;1;3;9\n5;4.5;6;9\n',
        "timestamp, field.x, field.y, field.z, field.nx\n0.5, 1, 2, 3, 9\n0.6, 4.5, 5, 6, 9\n",
        "PZ\tPX\tPY\n3\t1\t2\n6\t4.5\t5\n",
        "intensity x_coord y_coord z_coord\n9 1 2 3\n9 4.5 5 6\n",
        "nx,ny,nz,x,y,z,r,g,b\n0,0,1,1,2,3,255,0,0\n0,0,1,4.5,5,6,0,0,0\n",
        "//X Y Z Intensity\n1 2 3 9\n4.5 5 6 9\n",
        "# made by hand\n# z y x\n3 2 1\n6 5 4.5\n",
        "% points\n! more\n1 2 3 // first\n4.5 5 6 # second\n",
        "0,1,2\n1,2,3\n4.5,5,6\n",
        ",0,1,2\n0,1,2,3\n1,4.5,5,6\n",
        "2\n1 2 3 0.5 255 0 0\n4.5 5 6 0.5 0 0 0\n",
        "0 1 2 3\n1 4.5 5 6\n2 nan 5 6\n",
        "1,0;2,0;3,0\n4,5;5,0;6\n",
        "x;y;z\n1,0;2,0;3,0\n4,5;5,0;6,0\n",
        "1,0 2,0 3,0\n4,5 5,0 6,0\n",
        '"1,0","2,0","3,0"\n"4,5","5","6"\n',
        "x,y,z\n1,2,3\n,,\n4.5,5,6\n4,nan,6\n",
        "2\n1,2,3\n4.5,5,6\n",
        "2\nZ;Y;X\n3;2;1\n6;5;4.5\n",
        "2\nmade by hand\n1 2 3\n4.5 5 6\n",
        "A cloud, made by hand\nx y z\n1 2 3\n4.5 5 6\n",
        "sep=;\nz;x;y\n3;1;2\n6;4,5;5\n",
    ],
)
def test_every_dialect_of_a_table_reads_the_same(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    for suffix, content in (
        (".csv", text.encode()),
        (".txt", text.encode("utf-16")),
        (".asc", text.encode("utf-8-sig")),
    ):
        points = read_points(write(tmp_path, "a" + suffix, content))
        np.testing.assert_array_equal(points[np.isfinite(points).all(axis=1)], WANTED)


def test_latin_1_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "x,y,z,winkel (\u00b0)\n1,2,3,4\n".encode("latin-1"))
    np.testing.assert_array_equal(read_points(path), [[1, 2, 3]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 2 3\n", ""),
        ("1 2 3 4 5\n", "no header: x, y, z are the first three of 5 columns, the others were passed over"),
        (
            "7 1 2 3 9\n8 1 2 3 9\n9 4 5 6 9\n",
            "no header: x, y, z are the first three of 5 columns after one that counts the points, the others were "
            "passed over",
        ),
        ("nx,x,y,z\n1,2,3,4\n", "x, y, z are the columns x, y, z; passed over: nx"),
        ("1,5;2;3\n", "numbers were read with decimal commas"),
    ],
)
def test_what_is_passed_over_is_told(tmp_path: Path, text: str, told: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "a.csv", text)
    read_points(path)
    assert caplog.messages == ([f"{path}: {told}"] if told else [])


def test_points_without_a_place_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "a.xyz", "1 2 3\nnan nan nan\n4 5 6\n0 inf 0\n")
    assert sorted(read_cloud(path, 2).tolist()) == [[1, 2, 3], [4, 5, 6]]
    assert caplog.messages == [f"{path}: 2 of 4 points have a coordinate that is NaN or infinite; left out"]


def test_clouds_of_few_points_are_resampled_and_it_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = np.random.default_rng(0).normal(size=(5, 3))
    np.save(tmp_path / "a.npy", stored)
    points = read_cloud(tmp_path / "a.npy", 13)
    counts = [(points == point).all(axis=1).sum() for point in stored]
    assert sorted(counts) == [2, 2, 3, 3, 3]
    np.testing.assert_array_equal(points, read_cloud(tmp_path / "a.npy", 13))
    assert caplog.messages[0] == (
        f"{tmp_path / 'a.npy'}: clouds of fewer points are resampled to 13: some points come several times"
    )


def pcd(kind: str, points: np.ndarray) -> bytes:
    """Write points with a colour and a normal beside them, as the format's specification says."""
    lzf: Any = import_module("lzf")
    header = "# .PCD v.7\nVERSION .7\nFIELDS rgb x y z nx\nSIZE 4 4 4 8 4\nTYPE U F F F F\nCOUNT 1 1 1 1 1\n"
    header += f"WIDTH {len(points)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(points)}\nDATA {kind}\n"
    rows = np.zeros(len(points), dtype=[("rgb", "<u4"), ("x", "<f4"), ("y", "<f4"), ("z", "<f8"), ("nx", "<f4")])
    for column, axis in enumerate("xyz"):
        rows[axis] = points[:, column]
    if kind == "ascii":
        return (header + "\n".join(" ".join(repr(value) for value in row.tolist()) for row in rows) + "\n").encode()
    if kind == "binary":
        return header.encode() + rows.tobytes()
    columns = b"".join(rows[name].tobytes() for name in rows.dtype.names or ())
    packed = lzf.compress(columns) or b""
    return header.encode() + struct.pack("<II", len(packed), len(columns)) + packed


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
def test_pcd_of_every_kind_reads_the_same(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    points = np.random.default_rng(0).integers(-8, 8, (40, 3)) / 4
    path = write(tmp_path, "a.pcd", pcd(kind, points))
    np.testing.assert_array_equal(read_points(path), points)
    assert caplog.messages == [f"{path}: x, y, z were read; passed over: rgb, nx"]


@pytest.mark.parametrize("kind", ["ascii", "binary", "binary_compressed"])
def test_old_and_odd_headers_of_pcd_read_the_same(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    points = np.random.default_rng(1).integers(-8, 8, (40, 3)) / 4
    content = pcd(kind, points)
    head, mark, data = content.partition(b"DATA")
    data = data.replace(b" ", b"  ").replace(b"\n", b" \r\n") if kind == "ascii" else data
    for old, new in (
        (b"COUNT 1 1 1 1 1\n", b""),
        (b"FIELDS rgb x y z nx", b"COLUMNS rgb X Y Z nx"),
        (b"FIELDS rgb x y z nx", b"FIELDS _ x y z _"),
    ):
        assert old in head
        caplog.clear()
        path = write(tmp_path, "a.pcd", head.replace(old, new) + mark + data)
        np.testing.assert_array_equal(read_points(path), points)
        told = [f"{path}: x, y, z were read; passed over: rgb, nx"]
        assert caplog.messages == ([] if b"_" in new else told)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ((b"FIELDS rgb x y z nx", b"FIELDS rgb u v w nx"), "there are no fields x, y and z .rgb, u, v, w, nx."),
        ((b"DATA ascii", b"DATA strange"), "not a complete PCD file"),
        ((b"POINTS 40", b"POINTS 50"), "not a complete PCD file"),
    ],
)
def test_broken_pcd_is_refused(tmp_path: Path, change: tuple[bytes, bytes], complaint: str) -> None:
    content = pcd("ascii", np.random.default_rng(0).normal(size=(40, 3))).replace(*change)
    with pytest.raises(InputError, match=f"a.pcd: {complaint}"):
        read_points(write(tmp_path, "a.pcd", content))


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_las_is_scaled_and_moved(tmp_path: Path, suffix: str) -> None:
    laspy = pytest.importorskip("laspy", reason="laspy is not installed")
    points = np.random.default_rng(0).integers(-800, 800, (40, 3)) / 8 + [500000.0, 4000000.0, 20.0]
    header = laspy.LasHeader(point_format=3)
    header.offsets, header.scales = [500000.0, 4000000.0, 0.0], [0.125, 0.125, 0.125]
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = points.T
    cloud.write(str(tmp_path / f"a.{suffix}"))
    np.testing.assert_allclose(read_points(tmp_path / f"a.{suffix}"), points, **EXACT)
    write(tmp_path, f"b.{suffix}", (tmp_path / f"a.{suffix}").read_bytes()[:300])
    with pytest.raises(InputError, match=f"b.{suffix}: not a complete LAS file"):
        read_points(tmp_path / f"b.{suffix}")


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "cloud.csv", "id,Z,intensity,X,y\n1,3.0,9,1.0,2.0\n2,6.0,9,4.0,5.0\n")
    np.testing.assert_array_equal(read_points(path), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", "", "a.csv: the file has no points"),
        ("a.csv", "# nothing\n\n", "a.csv: the file has no points"),
        ("a.csv", "x,y,z\n", "a.csv: the file has a header but no points"),
        ("a.csv", "1,2,3\n\n4,5\n", "a.csv: line 3 has 2 columns and line 1 has 3; write the same"),
        ("a.csv", "# c\n1,2,3\n4,five,6\n", "a.csv: line 3 has 'five' where a number is wanted; write x, y, z"),
        ("a.csv", "1,two,3\n4,5,6\n", "a.csv: line 1 has 'two' where a number is wanted"),
        ("a.csv", "a,b,c\n1,2,3\n", "a.csv: no columns x, y and z in the header .'a', 'b', 'c'.; name the coordinates"),
        ("a.csv", "nx,ny,nz,i\n1,2,3,4\n", "a.csv: no columns x, y and z in the header .'nx', 'ny', 'nz', 'i'."),
        ("a.csv", "x,X,y,z\n1,2,3,4\n", "a.csv: several columns could be x .'x', 'X'.; leave one of them"),
        ("a.csv", "x,y,z\n1,2,3,4\n", "a.csv: the header has 3 columns .x, y, z. and the lines below it 4"),
        ("a.csv", "0,5,1,25,0,07\n1,5,2,25,1,75\n", "a.csv: line 1 reads .*commas seem to separate both numbers and"),
        ("a.csv", "1,5,2,25,3,125\n1,5,2,25,3,05\n", "a.csv: line 2 reads .*commas seem to separate both numbers and"),
        ("a.csv", "0,500,1,250,-2,125\n" * 3, "a.csv: line 1 reads .*commas seem to separate both numbers and"),
        ("a.csv", "0,5;1.000;2\n3;4;5\n", "a.csv: line 1 has '(0,5|1.000)' where a number is wanted"),
        ("a.csv", "x;y;z\n3;4;5\n0,5;1.000;2\n", "a.csv: line 3 has '(0,5|1.000)' where a number is wanted"),
        ("a.csv", "1.234,5;2;3\n", "a.csv: line 1 has '1.234,5' where a number is wanted; write numbers without marks"),
        ("a.xyz", "3\n1 2 3\n4 5 6\n", "a.xyz: line 1 counts 3 points and 2 follow; copy or export the file again"),
        ("a.xyz", "2\nwater\nO 0 0 0\nH 0 0 1\n", "a.xyz: .*a molecule, which `python -m pipelines.dos` reads"),
        ("a.xyz", "1 2\n3 4\n", "a.xyz: line 1 has 2 columns; write x, y, z on each line"),
        (
            "a.xyz",
            "\n".join(["1 2 3 4 5 6 7 8 9"] * 3),
            r"a.xyz: the table has shape \(3, 9\), .*; write its transpose",
        ),
        ("a.txt", b"1 2 \0 3", "a.txt: the file cannot be read as text .it has zero bytes."),
        ("a.npy", b"no array", "a.npy: not a complete NPY file of numbers"),
        ("a.npy", b"", "a.npy: not a complete NPY file of numbers"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str | bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_points(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((5, 2)), r"the array has shape \(5, 2\)"),
        (np.zeros((3, 100)), r"the array has shape \(3, 100\); save its transpose, \(points, 3\)"),
        (np.zeros((6, 100)), r"the array has shape \(6, 100\); save its transpose, \(points, 3\)"),
        (np.zeros(12), r"the array has shape \(12,\)"),
        (np.zeros((5, 3), complex), "the array has dtype complex128"),
        (np.full((5, 3), "a"), "the array has dtype <U1"),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, array: np.ndarray, complaint: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=complaint):
        read_points(tmp_path / "a.npy")


def test_an_empty_array_has_no_points(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    with pytest.raises(InputError, match="a.npy: the file has no points; remove it"):
        read_cloud(tmp_path / "a.npy", 2)


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[object()] * 3]), allow_pickle=True)
    with pytest.raises(InputError, match="a.npy: not a complete NPY file of numbers"):
        read_points(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", points=np.zeros((5, 3)))
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(InputError, match="b.npy: the array has shape of several arrays"):
        read_points(tmp_path / "b.npy")


def test_records_of_an_array_have_their_coordinates_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = np.zeros(4, dtype=[("intensity", "u1"), ("z", "f4"), ("y", "f8"), ("x", "f4")])
    for place, axis in enumerate("xyz"):
        records[axis] = 10 * place + np.arange(4)
    np.save(tmp_path / "a.npy", records)
    np.testing.assert_array_equal(read_points(tmp_path / "a.npy")[2], [2, 12, 22])
    assert caplog.messages == [f"{tmp_path / 'a.npy'}: passed over: intensity"]
    np.save(tmp_path / "b.npy", np.zeros(4, dtype=[("intensity", "u1"), ("x", "f4"), ("y", "f4")]))
    with pytest.raises(InputError, match="b.npy: no columns x, y and z in the header .'intensity', 'x', 'y'."):
        read_points(tmp_path / "b.npy")


def test_whole_numbers_of_four_digits_are_no_decimals(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "1000,2000,3000,255,0,0\n1500,900,3000,0,90,7\n")
    np.testing.assert_array_equal(read_points(path), [[1000, 2000, 3000], [1500, 900, 3000]])
