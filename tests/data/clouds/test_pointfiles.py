from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from csgnn_dgl.data import read_cloud
from csgnn_dgl.data.clouds.formats.points import read_points
from csgnn_dgl.errors import InputError

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
    st.sampled_from(["", "x,y,z", "# a comment", '"px","py","pz","r","g","b"']),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.booleans(),
)
def test_text_round_trip(table: np.ndarray, suffix: str, delimiter: str, header: str, newline: str, mark: bool) -> None:
    header = header.replace(",", delimiter)
    lines = [header] if header else []
    lines += [delimiter.join(repr(float(value)) for value in row) for row in table]
    text = ("\ufeff" if mark else "") + newline.join(lines)
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


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "cloud.csv", "id,Z,intensity,X,y\n1,3.0,9,1.0,2.0\n2,6.0,9,4.0,5.0\n")
    np.testing.assert_array_equal(read_points(path), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", "", "a.csv: the file has no points"),
        ("a.csv", "# nothing\n\n", "a.csv: the file has no points"),
        ("a.csv", "x,y,z\n", "a.csv: the file has a header but no points"),
        ("a.csv", "1,2,3\n4,5\n", "a.csv: not a table of three numbers per line"),
        ("a.csv", "1,2,3\n4,five,6\n", "a.csv: not a table of three numbers per line .*five"),
        ("a.csv", "1,two,3\n4,5,6\n", "a.csv: not a table of three numbers per line .*two"),
        ("a.xyz", "1 2\n3 4\n", "a.xyz: not a table of three numbers per line"),
        ("a.txt", b"\xff\xff1 2 3", "a.txt: the file cannot be read as text"),
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
