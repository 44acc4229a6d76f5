"""Normals, colours and intensities on their way from a source to a batch."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from csgnn_dgl.data import Augmentation, CloudDataset, PointClouds, builtin_shapes, load
from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.data.clouds.dataset import numbers_of
from csgnn_dgl.errors import InputError
from tests.tolerances import ROUNDED, TOLERANCE

RNG = np.random.default_rng(0)


def sphere(count: int = 50) -> tuple[dict[str, Any], np.ndarray]:
    """An ellipsoid's points and normals: those of x²/a² + y²/b² + z²/c² = 1."""
    directions = np.random.default_rng(1).normal(size=(2, count, 3))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    axes = np.array([1.0, 0.7, 0.4])
    return {"points": directions * axes, "labels": [0, 1], "class_names": ("a", "b")}, directions / axes


def test_a_batch_has_the_angle_of_normal_and_radius_on_the_surface_that_was_stretched_and_turned() -> None:
    record, normals = sphere()
    normals = normals.astype(np.float32)
    colours = RNG.random((2, 50, 3), dtype=np.float32)
    clouds = PointClouds(**record, features={"colours": colours, "normals": normals * -3}, normalised=True)
    changes = Augmentation(translation=0.0, jitter_std=0.0)
    batch = CloudDataset(clouds, changes, seed=4).batch(torch.tensor([0, 1]), [0, 0])["points"]
    assert batch.shape == (2, 50, 3 + numbers_of(["normals", "colours"]))
    draws = changes.draw(4, [0, 0], [0, 1], 50)
    axes = draws.scale.double().numpy()[:, None] * np.array([1.0, 0.7, 0.4])
    stretched = record["points"] * draws.scale.double().numpy()[:, None]  # before its rotation, which changes nothing
    true = stretched / axes**2
    cosine = (true * stretched).sum(axis=2) / np.linalg.norm(true, axis=2) / np.linalg.norm(stretched, axis=2)
    np.testing.assert_allclose(batch[..., 3], cosine, **TOLERANCE[torch.float32])
    np.testing.assert_allclose(batch[..., 4:], colours, **ROUNDED)
    turned = draws.turn_normals(torch.from_numpy(normals))
    np.testing.assert_allclose(turned.norm(dim=2), 1, **ROUNDED)


def test_built_in_shapes_have_the_normals_of_their_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path))
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 1, "test": 1})
    clouds = load("builtin", "train", num_points=300, features=["normals"])
    np.testing.assert_array_equal(clouds.points, builtin_shapes("train", 300).points)
    normals = clouds.features["normals"]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1, **ROUNDED)
    shelf = normals[clouds.class_names.index("bookshelf")]  # all boxes along the axes
    np.testing.assert_allclose(np.abs(shelf).max(axis=1), 1, **ROUNDED)
    assert clouds.subset([3]).features["normals"].tolist() == normals[3:4].tolist()
    with pytest.raises(InputError, match="the built-in shapes have no colours"):
        load("builtin", "train", features=["colours"])


def test_hdf5_files_give_what_they_have(tmp_path: Path) -> None:
    points, normals = RNG.random((3, 20, 3)).astype("f4"), RNG.random((3, 20, 3)).astype("f4")
    for split in ("train", "test"):
        with h5py.File(tmp_path / f"{split}.h5", "w") as file:
            file["data"], file["label"], file["normal"] = points, [0, 1, 1], normals
            file["intensity"] = points[..., 0]
    clouds = load(tmp_path, "train", 16, up_axis="y", features=["intensities", "normals"])
    np.testing.assert_array_equal(clouds.features["normals"], (normals[:, :16, [0, 2, 1]] * [1, -1, 1]).astype("f4"))
    np.testing.assert_array_equal(clouds.features["intensities"], points[:, :16, :1])
    with pytest.raises(InputError, match=r"train.h5: the points have no colours .* or ask for no features"):
        load(tmp_path, "train", 16, up_axis="y", features=["colours"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"smell": np.zeros((2, 50, 1))}, "'smell' is no feature of points; give one of normals"),
        ({"normals": np.zeros((2, 50, 2))}, "the normals have shape \\(2, 50, 2\\)"),
        ({"intensities": np.full((2, 50, 1), np.nan)}, "has intensities that are NaN or infinite"),
    ],
)
def test_features_that_do_not_fit_are_refused(features: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PointClouds(**sphere()[0], features=features)


def test_sources_without_features_and_wrong_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="normals are not read from folders of classes"):
        load(tmp_path, "train", features=["normals"])
    for wrong in (["smell"], ["normals", "normals"]):
        with pytest.raises(InputError, match="name each of normals, colours, intensities at most once"):
            load("builtin", "train", features=wrong)
