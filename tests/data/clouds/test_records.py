import numpy as np
import pytest

from csgnn_dgl.data import PointClouds
from csgnn_dgl.data.clouds.axes import z_up
from csgnn_dgl.errors import InputError

POINTS = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 2])
CLASSES = ("bed", "car", "sofa")


def broken(value: float, shape: int = 2) -> np.ndarray:
    points = POINTS.astype(np.float64)
    points[shape, 1, 2] = value
    return points


@pytest.mark.parametrize(("given", "stored"), [("f4", "f4"), ("f8", "f8"), ("f2", "f4"), ("i4", "f4")])
def test_points_keep_their_precision_and_labels_become_int64(given: str, stored: str) -> None:
    assert PointClouds((100 * POINTS).astype(given), LABELS, CLASSES).points.dtype == stored
    clouds = PointClouds(POINTS[:, ::-1][:, ::-1], LABELS.astype(np.uint8)[:, None], CLASSES)  # type: ignore[arg-type]
    assert clouds.points.flags.c_contiguous
    np.testing.assert_array_equal(clouds.points, POINTS)
    assert clouds.labels.dtype == np.int64
    np.testing.assert_array_equal(clouds.labels, LABELS)
    assert (len(clouds), clouds.num_points, clouds.num_classes) == (4, 5, 3)
    assert repr(clouds) == "PointClouds(4 shapes of 5 points, 3 classes, 'point clouds')"


def test_subset_keeps_order_names_and_classes() -> None:
    clouds = PointClouds(POINTS, LABELS, CLASSES, ("a", "b", "c", "d"), source="here", normalised=True).subset([3, 1])
    np.testing.assert_array_equal(clouds.points, POINTS[[3, 1]])
    np.testing.assert_array_equal(clouds.labels, [2, 2])
    assert clouds.names == ("d", "b")
    assert clouds.class_names == CLASSES
    assert clouds.source == "here"
    assert clouds.normalised
    assert PointClouds(POINTS, LABELS, CLASSES).subset(np.array([0])).names == ()


@pytest.mark.parametrize(
    ("points", "labels", "names", "complaint"),
    [
        (POINTS[0], LABELS, (), r"src: the points have shape \(5, 3\); give them as \(shapes, points, 3\)"),
        (POINTS[..., :2], LABELS, (), r"src: the points have shape \(4, 5, 2\)"),
        (POINTS[:3], LABELS, (), "src: 3 clouds but 4 labels"),
        (POINTS, LABELS, ("a",), "src: 4 clouds but 1 names"),
        (POINTS[:0], LABELS[:0], (), "src: there are no shapes"),
        (POINTS[:, :0], LABELS, (), "src: the clouds are empty"),
        (POINTS.astype(complex), LABELS, (), "src: the points have dtype complex128"),
        (POINTS.astype(str), LABELS, (), "src: the points have dtype <U"),
        (broken(np.nan), LABELS, ("a", "b", "c", "d"), r"src: cloud 2 \(c\) has a coordinate that is NaN"),
        (broken(np.inf, 3), LABELS, (), "src: cloud 3 has a coordinate that is NaN or infinite"),
        (broken(-np.inf), LABELS, (), "src: cloud 2 has a coordinate that is NaN or infinite"),
        (broken(1e300), LABELS, (), "src: cloud 2 has a coordinate"),
        (broken(-1e16), LABELS, (), r"src: cloud 2 has a coordinate of 1e\+16, beyond 1e\+15; rescale it"),
        (np.repeat(POINTS[:, :1], 5, axis=1), LABELS, (), "src: cloud 0 has no extent"),
        (POINTS, LABELS + 1, (), r"src: label 3 of shape 1 is out of range; with 3 .* in 0..2"),
        (POINTS, LABELS - 1, (), "src: label -1 of shape 0 is out of range"),
        (POINTS, LABELS.astype(float), (), "src: the labels have dtype float64"),
        (POINTS, np.zeros((4, 2), int), (), r"src: the labels have shape \(4, 2\)"),
    ],
)
def test_bad_clouds_are_refused(points: np.ndarray, labels: np.ndarray, names: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(InputError, match=f"^{complaint}"):
        PointClouds(points, labels, CLASSES, names, source="src")


def test_y_up_becomes_z_up_by_a_proper_rotation() -> None:
    np.testing.assert_array_equal(z_up(np.array([0.0, 1.0, 0.0], np.float32), "y"), [0, 0, 1])
    matrix = z_up(np.eye(3, dtype=np.float32), "y").T
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == 1
    assert z_up(POINTS, "z") is POINTS
    with pytest.raises(InputError, match="file: up_axis is 'x'; give 'y' or 'z'"):
        z_up(POINTS, "x", "file")


def test_shapes_are_chosen_by_name_in_their_own_order() -> None:
    clouds = PointClouds(POINTS, LABELS, CLASSES, ("a", "b", "c", "d"))
    chosen = clouds.named(["d", "a"], "list.txt")
    assert chosen.names == ("a", "d")
    np.testing.assert_array_equal(chosen.points, POINTS[[0, 3]])
    np.testing.assert_array_equal(chosen.labels, [0, 2])


@pytest.mark.parametrize(
    ("own", "asked", "complaint"),
    [
        ((), ["a"], "point clouds: the shapes have no names; leave list.txt out"),
        (("a", "b", "c", "d"), ["a", "b", "a"], "list.txt: the shape 'a' is there twice"),
        (("a", "b", "b", "d"), ["b"], "list.txt: the shape 'b' is there twice"),
        (("a", "b", "c", "d"), ["b", "y", "x"], "list.txt: 2 of 3 shapes are not in point clouds, such as 'x'"),
    ],
)
def test_names_that_choose_nothing_clear_are_refused(own: tuple[str, ...], asked: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=f"^{complaint}"):
        PointClouds(POINTS, LABELS, CLASSES, own).named(asked, "list.txt")
