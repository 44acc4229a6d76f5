from pathlib import Path

import h5py
import numpy as np
import pytest

from csgnn_dgl.data import load
from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.data.clouds.modelnet import SCAN_CLASSES
from csgnn_dgl.data.clouds.scanned import scan, visible
from csgnn_dgl.errors import InputError


def ball(count: int = 2000) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_a_camera_sees_the_cap_of_a_ball_that_faces_it() -> None:
    points, camera = ball(), np.array([0.0, 0.0, 4.0])
    seen = np.isin(np.arange(len(points)), visible(points, camera))
    horizon = 1 / 4  # height from which tangents reach the camera
    assert seen[points[:, 2] > horizon + 0.05].mean() > 0.95
    assert seen[points[:, 2] < horizon - 0.2].mean() < 0.05


def test_a_scan_is_one_side_with_noise_and_background() -> None:
    points = ball()
    missing = []
    for seed in range(8):
        cloud = scan(points, 500, np.random.default_rng(seed))
        assert cloud.shape == (500, 3)
        on_ball = cloud[np.abs(np.linalg.norm(cloud, axis=1) - 1) < 0.2]
        assert 0.7 < len(on_ball) / 500 <= 1
        missing.append(np.linalg.norm(on_ball.mean(axis=0)))
        np.testing.assert_array_equal(cloud, scan(points, 500, np.random.default_rng(seed)))
    assert min(missing) > 0.2  # of a whole ball the mean is the centre


def test_the_scanned_shapes_are_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path))
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 1, "test": 1})
    clouds, whole = load("builtin-scanned", "test", 128), load("builtin", "test", 128)
    assert (clouds.class_names, clouds.points.shape) == (whole.class_names, whole.points.shape)
    np.testing.assert_array_equal(load("builtin-scanned", "test", 128).points, clouds.points)  # from the cache
    assert not np.array_equal(load("builtin-scanned", "train", 128).points, clouds.points)
    with pytest.raises(InputError, match="scanned built-in shapes have no normals"):
        load("builtin-scanned", "test", features=["normals"])


def write_scans(folder: Path, *names: str) -> Path:
    """Files laid out as ScanObjectNN's: data, label and mask (-1 for background)."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for name in names:
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["data"] = rng.normal(size=(15, 2048, 3)).astype("f4")
            file["label"] = np.arange(15, dtype="u1")
            file["mask"] = rng.integers(-1, 1, size=(15, 2048)).astype("i4")
    return folder


def test_scan_object_nn_has_its_classes_and_its_vertical_axis(tmp_path: Path) -> None:
    folder = write_scans(tmp_path, "training_objectdataset", "test_objectdataset")
    for split, name in (("train", "training"), ("test", "test")):
        clouds = load(folder, split, 64)
        assert clouds.class_names == SCAN_CLASSES and len(SCAN_CLASSES) == 15
        with h5py.File(folder / f"{name}_objectdataset.h5") as file:
            stored = file["data"][:, :64]
        np.testing.assert_array_equal(
            clouds.points, np.stack([stored[..., 0], -stored[..., 2], stored[..., 1]], axis=-1)
        )


def test_two_variants_of_scan_object_nn_are_not_mixed(tmp_path: Path) -> None:
    names = ("training_objectdataset", "training_objectdataset_augmentedrot_scale75", "test_objectdataset")
    folder = write_scans(tmp_path, *names)
    with pytest.raises(InputError, match="2 variants of ScanObjectNN .* give a folder with one of each split"):
        load(folder, "train", 64)
