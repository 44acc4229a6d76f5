import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from csgnn_dgl.data import BUILTIN_CLASSES, CloudTransform, PointClouds, builtin_shapes
from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.data.clouds.objects import CLASSES
from csgnn_dgl.data.clouds.shapes import make_shape
from csgnn_dgl.errors import InputError
from tests.tolerances import approx, printed


@pytest.fixture(scope="module")
def splits() -> tuple[PointClouds, PointClouds]:
    return builtin_shapes("train", cache=False), builtin_shapes("test", cache=False)


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of our own, and few shapes to fill it with."""
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 2, "test": 1})
    return tmp_path / "cache"


def radial_histogram(clouds: PointClouds) -> np.ndarray:
    radii = CloudTransform()(torch.from_numpy(clouds.points)).norm(dim=-1).numpy()
    return np.stack([np.histogram(row, bins=32, range=(0.0, 1.0 + 1e-6))[0] / len(row) for row in radii])


def test_counts_and_names(splits: tuple[PointClouds, PointClouds]) -> None:
    assert len(BUILTIN_CLASSES) >= 10
    for clouds, count in zip(splits, (80, 40), strict=True):
        assert clouds.points.shape == (count * len(BUILTIN_CLASSES), 1024, 3)
        np.testing.assert_array_equal(np.bincount(clouds.labels), count)
        assert not clouds.normalised
        assert clouds.names[count] == "bed/000"
        assert clouds.class_names == BUILTIN_CLASSES
    train, test = splits
    distances = np.abs(train.points[:80, None, 0] - test.points[None, :40, 0]).max(axis=-1)
    assert distances.min() > 0


def test_radial_histograms_do_not_give_the_classes_away(splits: tuple[PointClouds, PointClouds]) -> None:
    train, test = splits
    accuracies = []
    for strength in (1.0, 100.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
        model.fit(radial_histogram(train), train.labels)
        accuracies.append(model.score(radial_histogram(test), test.labels))
    assert max(accuracies) < 0.7
    assert min(accuracies) > 2 / len(BUILTIN_CLASSES)


def test_the_whole_set_takes_seconds() -> None:
    start = time.process_time()
    for name in CLASSES:
        for number in range(4):
            make_shape(name, "train", number)
    assert (time.process_time() - start) / (4 * len(CLASSES)) * 120 * len(CLASSES) < 12


@pytest.mark.parametrize("name", BUILTIN_CLASSES)
def test_objects_are_upright_and_deterministic(name: str) -> None:
    first = make_shape(name, "test", 3, 500)
    np.testing.assert_array_equal(first, make_shape(name, "test", 3, 500))
    others = [
        make_shape(name, "train", 3, 500),
        make_shape(name, "test", 4, 500),
        make_shape(name, "test", 3, 500, seed=1),
    ]
    assert all((first != other).any() for other in others)
    # objects are symmetric left to right or nearly so, and all but plain cases have a clear up: check a few
    solid = CLASSES[name](np.random.default_rng(0))
    low, high = solid.vertices.min(axis=0), solid.vertices.max(axis=0)
    assert (high - low > 0.01).all()
    size = high - low
    if name in ("bottle", "vase", "ladder", "lamp"):
        assert size[2] == size.max()
    if name in ("bed", "car", "airplane"):
        assert size[2] < size[1]


def test_shapes_are_those_of_this_version() -> None:
    # shapes that differ from these need a new VERSION (and new numbers here), or old caches would be read
    assert shapes.VERSION == 2
    made = torch.from_numpy(np.stack([make_shape(name, "train", 0) for name in BUILTIN_CLASSES]))
    found = dict(zip(BUILTIN_CLASSES, CloudTransform()(made).abs().mean(dim=(1, 2)).tolist(), strict=True))
    expected = {
        "airplane": 0.18988,
        "bed": 0.28593,
        "bookshelf": 0.27234,
        "bottle": 0.2624,
        "car": 0.258,
        "chair": 0.24205,
        "ladder": 0.29285,
        "lamp": 0.26254,
        "monitor": 0.27854,
        "mug": 0.35564,
        "sofa": 0.27625,
        "table": 0.24901,
        "vase": 0.2859,
    }
    assert found == approx(expected, **printed(5))


def test_the_cache_is_used(cache_folder: Path) -> None:
    made = builtin_shapes("train", 64, seed=3)
    (path,) = cache_folder.iterdir()
    assert path.name == f"builtin-v{shapes.VERSION}-train-64-3.npz"
    np.testing.assert_array_equal(builtin_shapes("train", 64, seed=3).points, made.points)
    np.savez(path, points=made.points[::-1])
    np.testing.assert_array_equal(builtin_shapes("train", 64, seed=3).points, made.points[::-1])
    np.testing.assert_array_equal(builtin_shapes("train", 64, seed=3, cache=False).points, made.points)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "text", "shape", "dtype", "nan", "key"])
def test_a_broken_cache_is_replaced(cache_folder: Path, damage: str) -> None:
    made = builtin_shapes("test", 64)
    (path,) = cache_folder.iterdir()
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif damage == "text":
        path.write_text("not an archive")
    elif damage == "shape":
        np.savez(path, points=made.points[:, :32])
    elif damage == "dtype":
        np.savez(path, points=made.points.astype(np.float64))
    elif damage == "nan":
        np.savez(path, points=np.where(made.points == made.points[0, 0, 0], np.nan, made.points))
    else:
        np.savez(path, other=made.points)
    np.testing.assert_array_equal(builtin_shapes("test", 64).points, made.points)
    assert path.read_bytes() == content


def test_no_cache_where_none_can_be(cache_folder: Path) -> None:
    cache_folder.write_text("a file where the folder would be")
    assert builtin_shapes("test", 64).points.shape == (len(BUILTIN_CLASSES), 64, 3)
    assert cache_folder.read_text() == "a file where the folder would be"


def test_progress_goes_to_stderr(cache_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builtin_shapes("test", 64, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "making test shapes" in err


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="the built-in data set: split is 'val'; give 'train' or 'test'"):
        builtin_shapes("val")
    with pytest.raises(InputError, match="num_points is 1"):
        builtin_shapes("test", 1)
    with pytest.raises(InputError, match="seed of the built-in data set is -1"):
        builtin_shapes("test", seed=-1)
