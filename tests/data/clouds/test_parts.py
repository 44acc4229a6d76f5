from pathlib import Path

import numpy as np
import pytest

from csgnn_dgl.data import PartClouds, builtin_parts, builtin_shapes
from csgnn_dgl.data.clouds import shapes
from csgnn_dgl.data.clouds.objects import CLASSES, PARTS
from csgnn_dgl.data.clouds.solids import box, cylinder, join, turned_profile
from csgnn_dgl.errors import InputError


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shapes, "SHAPES_PER_CLASS", {"train": 2, "test": 1})
    return tmp_path / "cache"


def clouds(**changes: object) -> PartClouds:
    fine = {
        "points": np.arange(36.0).reshape(3, 4, 3),
        "labels": [0, 1, 1],
        "class_names": ("cup", "pen"),
        "parts": [[0, 1, 0, 1], [2, 2, 2, 2], [2, 3, 2, 3]],
        "part_names": ("body", "handle", "shaft", "tip"),
        "part_classes": [0, 0, 1, 1],
    }
    return PartClouds(**{**fine, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CLASSES)
def test_objects_have_the_parts_of_their_class_and_no_others(name: str) -> None:
    seen = set()
    for seed in range(40):
        seen |= set(np.asarray(CLASSES[name](np.random.default_rng(seed)).parts).tolist())
    assert seen == set(PARTS[name])


def test_parts_go_with_solids_that_are_moved_turned_stretched_and_put_together() -> None:
    leg, top = box(1, 1, 1).called("leg"), cylinder(1, 1).called("top")
    both = join([leg.moved(1).turned("z", 30).stretched(1, 2, 3), top, box(1, 1, 1)])
    counts = len(leg.faces), len(top.faces), len(leg.faces)
    assert np.asarray(both.parts).tolist() == ["leg"] * counts[0] + ["top"] * counts[1] + [""] * counts[2]
    pot = turned_profile([0, 2, 2, 1], [0, 0, 3, 4], ["floor", "wall", "rim"])
    heights = pot.vertices[pot.faces][..., 2].mean(axis=1)
    assert {name: np.unique(np.floor(heights[pot.parts == name])).tolist() for name in ("floor", "wall", "rim")} == {
        "floor": [0.0],
        "wall": [1.0, 2.0],
        "rim": [3.0],
    }


def test_the_points_are_those_of_the_built_in_shapes_and_parts_lie_where_they_should(few: Path) -> None:
    labelled, plain = builtin_parts("train", 400), builtin_shapes("train", 400)
    np.testing.assert_array_equal(labelled.points, plain.points)
    np.testing.assert_array_equal(builtin_parts("train", 400).parts, labelled.parts)  # now from the cache
    assert (labelled.num_parts, labelled.names) == (sum(map(len, PARTS.values())), plain.names)
    names = np.array(labelled.part_names)[labelled.parts]
    for label, lower, upper in (("table", "leg", "top"), ("bottle", "body", "cap"), ("chair", "leg", "back")):
        for index in np.flatnonzero(labelled.labels == labelled.class_names.index(label)):
            heights = labelled.points[index, :, 2]
            assert heights[names[index] == lower].max() <= heights[names[index] == upper].mean()


def test_a_subset_keeps_the_parts() -> None:
    some = clouds().subset([2, 0])
    assert (some.parts.tolist(), some.labels.tolist()) == ([[2, 3, 2, 3], [0, 1, 0, 1]], [1, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": [[0, 1, 0, 1]]}, "the parts have shape \\(1, 4\\)"),
        ({"parts": np.zeros((3, 4))}, "dtype float64; give one whole number for each of the points"),
        ({"parts": [[0, 1, 0, 1], [2, 2, 2, 2], [2, 3, 0, 3]]}, "cloud 2: point 2 has part 0, which is none of a pen"),
        ({"parts": [[0, 1, 0, 9], [2, 2, 2, 2], [2, 3, 2, 3]]}, "cloud 0: point 3 has part 9, which is none of a cup"),
        ({"part_classes": [0]}, "4 names of parts but 1 classes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        clouds(**changes)
