import contextlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from csgnn_dgl.data import CloudDataset, read_modelnet40
from csgnn_dgl.errors import InputError
from tests.tolerances import ROUNDED, printed

RNG = np.random.default_rng(1)


def write_file(path: Path, num_points: int = 2048, shapes: int = 3, **replaced: Any) -> np.ndarray:
    """Write an HDF5 file; None as a replacement leaves the key out. Return the points."""
    points = RNG.uniform(-1, 1, (shapes, num_points, 3))
    points -= points.mean(axis=1, keepdims=True)
    points = (points / np.linalg.norm(points, axis=-1).max(axis=1)[:, None, None]).astype(np.float32)
    content = {"data": points, "label": np.arange(shapes, dtype=np.uint8)[:, None] % 2} | replaced
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            if value is not None:
                file[key] = value
    return points


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One training file, y up, as downloaded."""
    (tmp_path / "shape_names.txt").write_text("bed\ncar\n")
    (tmp_path / "train_files.txt").write_text("data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n")
    write_file(tmp_path / "ply_data_train0.h5")
    return tmp_path


def test_downloaded_files_are_y_up_and_the_first_points_are_used(folder: Path) -> None:
    (folder / "train_files.txt").write_text("data/x/ply_data_train0.h5\r\n\r\ndata\\x\\ply_data_train1.h5\r\n")
    first = write_file(folder / "ply_data_train0.h5")
    second = write_file(folder / "ply_data_train1.h5", shapes=2, label=np.array([1, 1]))
    clouds = read_modelnet40(folder, "train")
    stored = np.concatenate([first, second])[:, :1024]
    np.testing.assert_array_equal(clouds.points[..., 0], stored[..., 0])
    np.testing.assert_array_equal(clouds.points[..., 1], -stored[..., 2])
    np.testing.assert_array_equal(clouds.points[..., 2], stored[..., 1])
    np.testing.assert_array_equal(clouds.labels, [0, 1, 0, 1, 1])
    # the file is centred and scaled over all its points: those in use stay where they are
    served = CloudDataset(clouds).__getitems__(range(5))["points"]
    np.testing.assert_array_equal(served, clouds.points)
    assert clouds.class_names == ("bed", "car")
    assert clouds.names == ()


def test_files_of_1024_points_are_z_up_and_may_have_names(folder: Path) -> None:
    stored = write_file(folder / "ply_data_train0.h5", 1024, name=np.array([b"bed_1", b"car_1", b"bed_2"]))
    clouds = read_modelnet40(folder, "train")
    np.testing.assert_array_equal(clouds.points, stored)
    assert clouds.names == ("bed_1", "car_1", "bed_2")
    assert read_modelnet40(folder, "train", num_points=100).points.shape == (3, 100, 3)


def test_names_come_from_the_list_that_the_archive_has_beside_a_file(folder: Path) -> None:
    (folder / "ply_data_train_0_id2file.json").write_text(
        '["bed/bed_0007.ply", "car/car_0002.ply", "bed/bed_0001.ply"]'
    )
    assert read_modelnet40(folder, "train").names == ("bed_0007", "car_0002", "bed_0001")
    for content, complaint in (("[1]", "cannot be read"), ("[", "cannot be read"), ('["a"]', "1 names for 3 shapes")):
        (folder / "ply_data_train_0_id2file.json").write_text(content)
        with pytest.raises(InputError, match=f"ply_data_train_0_id2file.json: .*{complaint}.*unpack"):
            read_modelnet40(folder, "train")


def test_all_points_and_a_chosen_axis(folder: Path) -> None:
    stored = write_file(folder / "ply_data_train0.h5", 300)
    clouds = read_modelnet40(folder, "train", up_axis="z", num_points=None)
    np.testing.assert_array_equal(clouds.points, stored)
    turned = read_modelnet40(folder, "train", up_axis="y", num_points=300)
    np.testing.assert_array_equal(turned.points[..., 2], stored[..., 1])


def test_the_real_training_and_test_files(modelnet40_folder: Path) -> None:
    clouds = read_modelnet40(modelnet40_folder, "test")
    assert clouds.points.shape == (1211, 1024, 3)
    assert clouds.num_classes == 40
    assert all(
        name.startswith(clouds.class_names[label]) for name, label in zip(clouds.names, clouds.labels, strict=True)
    )
    norms = np.linalg.norm(clouds.points, axis=-1).max(axis=1)
    np.testing.assert_allclose(norms, 1, **printed(3))
    # z up: the seats of chairs are nearer to the middle than their backs, and planes are flat
    plane = clouds.points[clouds.labels == clouds.class_names.index("airplane")]
    assert np.ptp(plane, axis=1).mean(axis=0).argmin() == 2


BAD_POINTS = np.zeros((3, 2048, 3), np.float32)
BAD_POINTS[1, 7] = np.nan


@pytest.mark.parametrize(
    ("replaced", "complaint"),
    [
        ({"data": None}, r"ply_data_train0.h5: there is no data set 'data' \(found: label\)"),
        ({"label": None}, r"ply_data_train0.h5: there is no data set 'label' \(found: data\)"),
        ({"data": np.zeros((3, 2048, 2), np.float32)}, r"ply_data_train0.h5: the points have shape \(3, 2048, 2\)"),
        ({"data": np.zeros((3, 2048), np.float32)}, r"ply_data_train0.h5: the points have shape \(3, 2048\)"),
        ({"data": np.zeros((3, 2048, 3), np.int32)}, "ply_data_train0.h5: the points have dtype int32"),
        ({"data": BAD_POINTS + 1.0}, "ply_data_train0.h5: cloud 1 has a coordinate that is NaN"),
        ({"data": BAD_POINTS[:1]}, "ply_data_train0.h5: 1 clouds but 3 labels"),
        ({"data": np.zeros((3, 3, 2048), np.float32)}, r"the points have shape \(3, 3, 2048\); swap the last two axes"),
        ({"data": np.zeros((3, 1500, 3), np.float32)}, "1500 points per shape do not tell which axis is up"),
        ({"data": np.zeros((3, 2048, 3), np.float32)}, "ply_data_train0.h5: cloud 0 has no extent"),
        ({"label": np.array([0, 1, 2])}, r"ply_data_train0.h5: label 2 of shape 2 is out of range.*0\.\.1"),
        ({"label": np.array([0.0, 0.5, 0.0])}, "ply_data_train0.h5: the labels have shape .3,. and dtype float64"),
        ({"name": np.array([b"one"])}, "ply_data_train0.h5: 3 clouds but 1 names"),
    ],
)
def test_bad_content_is_refused(folder: Path, replaced: dict[str, Any], complaint: str) -> None:
    write_file(folder / "ply_data_train0.h5", **replaced)
    with pytest.raises(InputError, match=complaint):
        read_modelnet40(folder, "train")


def test_files_with_different_numbers_of_points(folder: Path) -> None:
    (folder / "train_files.txt").write_text("ply_data_train0.h5\nply_data_train1.h5\n")
    write_file(folder / "ply_data_train1.h5", 1024)
    assert read_modelnet40(folder, "train").points.shape == (6, 1024, 3)
    with pytest.raises(InputError, match="train1.h5: 1024 points per shape but the other files have 2048"):
        read_modelnet40(folder, "train", num_points=None)


@pytest.mark.parametrize("kept", [0, 10, 500, 3000, 70000])
def test_truncated_files_are_refused(folder: Path, kept: int) -> None:
    path = folder / "ply_data_train0.h5"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="ply_data_train0.h5: the file is no complete HDF5 file"):
        read_modelnet40(folder, "train")


@pytest.mark.parametrize("start", range(0, 2400, 40))
def test_overwritten_bytes_never_give_another_error(folder: Path, start: int) -> None:
    path = folder / "ply_data_train0.h5"
    content = bytearray(path.read_bytes())
    content[start : start + 24] = np.random.default_rng(start).bytes(24)
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        read_modelnet40(folder, "train")


def test_missing_and_broken_text_files(folder: Path) -> None:
    with pytest.raises(InputError, match="test_files.txt: there is no such file"):
        read_modelnet40(folder, "test")
    (folder / "test_files.txt").write_text(" \n")
    with pytest.raises(InputError, match="test_files.txt: the file is empty"):
        read_modelnet40(folder, "test")
    (folder / "test_files.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="test_files.txt: the file cannot be read as text"):
        read_modelnet40(folder, "test")
    (folder / "test_files.txt").write_text("ply_data_test0.h5\n")
    with pytest.raises(InputError, match="ply_data_test0.h5: there is no such file, but the list file names it"):
        read_modelnet40(folder, "test")
    (folder / "shape_names.txt").write_text("bed\ncar\nbed\n")
    with pytest.raises(InputError, match="shape_names.txt: class 'bed' appears twice"):
        read_modelnet40(folder, "train")


def test_bad_arguments(folder: Path) -> None:
    with pytest.raises(InputError, match="split is 'val'; give 'train' or 'test'"):
        read_modelnet40(folder, "val")
    with pytest.raises(InputError, match="num_points is 0"):
        read_modelnet40(folder, "train", num_points=0)
    with pytest.raises(InputError, match="up_axis is 'x'"):
        read_modelnet40(folder, "train", up_axis="x")
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        read_modelnet40(folder / "nowhere", "train")


def write_scans(folder: Path, split: str, labels: list[int], num_points: int = 2048, **names: str) -> np.ndarray:
    """Write a file as ScanObjectNN has them: no lists, a mask beside the points, neither centred nor scaled."""
    points = RNG.uniform(0, 5, (len(labels), num_points, 3)).astype(np.float32)
    with h5py.File(folder / f"{split}_objectdataset.h5", "w") as file:
        file[names.get("data", "data")], file[names.get("label", "label")] = points, np.array(labels)
        file["mask"] = np.zeros((len(labels), num_points), np.int32)
    return points


def test_other_data_sets_are_read_without_lists_and_it_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored = write_scans(tmp_path, "training", [0, 4, 1])
    write_scans(tmp_path, "test", [2, 5])
    clouds = read_modelnet40(tmp_path, "train")
    np.testing.assert_array_equal(clouds.labels, [0, 4, 1])
    np.testing.assert_array_equal(clouds.points[..., 2], stored[:, :1024, 1])
    assert clouds.class_names == tuple(f"class {number}" for number in range(6))
    assert read_modelnet40(tmp_path, "test").class_names == clouds.class_names
    served = CloudDataset(clouds).__getitems__(range(3))["points"].numpy()
    np.testing.assert_allclose(served.mean(axis=1), 0, **ROUNDED)
    np.testing.assert_allclose(np.linalg.norm(served, axis=-1).max(axis=1), 1, **ROUNDED)
    place = f"{tmp_path} (train)"
    assert sorted(caplog.messages[:4]) == sorted(
        [
            f"{place}: no train_files.txt: read training_objectdataset.h5",
            f"{place}: no shape_names.txt: 6 classes by their labels",
            f"{tmp_path / 'training_objectdataset.h5'}: 2048 points per shape are taken to be y up; data.up_axis says "
            "otherwise",
            f"{place}: the clouds are not centred and scaled to the unit ball in the files; they will be",
        ]
    )


@pytest.mark.parametrize("listed", [True, False])
def test_labels_may_be_counted_from_1(tmp_path: Path, listed: bool, caplog: pytest.LogCaptureFixture) -> None:
    write_scans(tmp_path, "train", [1, 3, 2])
    write_scans(tmp_path, "test", [2, 1])  # no shape of the last class
    if listed:
        (tmp_path / "classes.txt").write_text("bed\ncar\nsofa\n")
    for split, labels in (("train", [0, 2, 1]), ("test", [1, 0])):
        clouds = read_modelnet40(tmp_path, split)
        np.testing.assert_array_equal(clouds.labels, labels)
        assert clouds.class_names == (("bed", "car", "sofa") if listed else ("class 1", "class 2", "class 3"))
    assert any("counted from 1" in message for message in caplog.messages)


def test_a_split_without_the_first_class_is_still_counted_from_0(tmp_path: Path) -> None:
    write_scans(tmp_path, "train", [0, 3, 2])
    write_scans(tmp_path, "test", [2, 3])
    (tmp_path / "shape_names.txt").write_text("bed\ncar\nsofa\ntable\n")
    np.testing.assert_array_equal(read_modelnet40(tmp_path, "test").labels, [2, 3])


@pytest.mark.parametrize(("points", "label"), [("Points", "y"), ("point_cloud", "category"), ("coords", "class_id")])
def test_other_names_of_points_and_labels(
    tmp_path: Path, points: str, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored = write_scans(tmp_path, "train", [0, 1], 1024, data=points, label=label)
    found = read_modelnet40(tmp_path, "train")
    np.testing.assert_array_equal(found.points, stored)
    np.testing.assert_array_equal(found.labels, [0, 1])
    file = tmp_path / "train_objectdataset.h5"
    assert f"{file}: data is called '{points}'" in caplog.messages
    assert f"{file}: label is called '{label}'" in caplog.messages


def test_further_coordinates_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = RNG.normal(size=(2, 1024, 6)).astype(np.float32)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"], file["label"] = points, np.array([0.0, 1.0])
    np.testing.assert_array_equal(read_modelnet40(tmp_path, "train").points, points[:, :, :3])
    assert f"{tmp_path / 'train.h5'}: x, y, z are the first three of 6 coordinates, the others were passed over" in (
        caplog.messages
    )


def test_clouds_of_few_points_are_resampled(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored = write_file(folder / "ply_data_train0.h5", 1024)
    found = read_modelnet40(folder, "train", num_points=1500).points
    np.testing.assert_array_equal(found[:, :1024], stored)
    for cloud, own in zip(found, stored, strict=True):
        assert len(np.unique(cloud[1024:], axis=0)) == 476
        assert {tuple(point) for point in cloud[1024:]} <= {tuple(point) for point in own}
    assert caplog.messages == [
        f"{folder / 'ply_data_train0.h5'}: clouds of fewer points are resampled to 1500: some points come several times"
    ]
