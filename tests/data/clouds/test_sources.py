from pathlib import Path

import h5py
import numpy as np
import pytest

from csgnn_dgl.data import builtin_shapes, load, read_folder
from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.errors import InputError


def test_builtin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path))
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 2, "test": 1})
    found = load("builtin", "test", 64, seed=2)
    np.testing.assert_array_equal(found.points, builtin_shapes("test", 64, seed=2, cache=False).points)


def test_hdf5_folder(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(2, 30, 3)).astype(np.float32)
    (tmp_path / "shape_names.txt").write_text("bed\ncar\n")
    (tmp_path / "test_files.txt").write_text("ply_data_test0.h5\n")
    with h5py.File(tmp_path / "ply_data_test0.h5", "w") as file:
        file["data"], file["label"] = points, np.array([[1], [0]], np.uint8)
    np.testing.assert_array_equal(load(tmp_path, "test", 20, up_axis="z").points, points[:, :20])
    np.testing.assert_array_equal(load(str(tmp_path), "test", 20, up_axis="y").points[..., 2], points[:, :20, 1])
    with pytest.raises(InputError, match="train_files.txt: there is no such file"):
        load(tmp_path, "train")
    (tmp_path / "test_files.txt").unlink()
    np.testing.assert_array_equal(load(tmp_path, "test", 20, up_axis="z").points, points[:, :20])


def test_class_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "test").mkdir(parents=True)
        np.save(tmp_path / name / "test" / "0.npy", np.random.default_rng(0).normal(size=(30, 3)))
    found = load(tmp_path, "test", 20, seed=1)
    np.testing.assert_array_equal(found.points, read_folder(tmp_path, "test", 20, seed=1).points)
    turned = load(tmp_path, "test", 20, seed=1, up_axis="y")
    np.testing.assert_array_equal(turned.points[..., 2], found.points[..., 1])


def test_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data source 'buildin' does not exist; give 'builtin', the folder of"):
        load("buildin", "train")
    (tmp_path / "a.h5").write_text("")
    with pytest.raises(InputError, match=r"a.h5' is a file, not a folder"):
        load(tmp_path / "a.h5", "train")
    with pytest.raises(InputError, match=r"neither train_files.txt .* nor an HDF5 file with 'train' in its name"):
        load(tmp_path, "train")
    (tmp_path / "a.h5").unlink()
    with pytest.raises(InputError, match=r"neither train_files.txt nor class folders .*; see docs/how-to/own-data.md"):
        load(tmp_path, "train")
    (tmp_path / "modelnet40_ply_hdf5_2048").mkdir()
    with pytest.raises(InputError, match=r"did you mean '.*/modelnet40_ply_hdf5_2048'\?"):
        load(tmp_path, "train")
    with pytest.raises(InputError, match="up_axis is 'up'; give 'auto', 'y' or 'z'"):
        load(tmp_path, "train", up_axis="up")


def test_a_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="data: there is no permission to read the folder; mend it"):
        load(tmp_path / "data", "train")
