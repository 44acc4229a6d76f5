import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from csgnn_dgl.data import read_cloud, read_folder
from csgnn_dgl.errors import InputError
from tests.tolerances import ROUNDED, approx, drawn

BOX = trimesh.creation.box(extents=(1.0, 2.0, 4.0))
FORMATS = ["off", "obj", "ply", "stl"]
TETRAHEDRON_OFF = """OFF
4 4 6
0 0 0
1 0 0
0 1 0
0 0 1
3 0 2 1
3 0 1 3
3 1 2 3
3 0 3 2
"""


def on_box(points: np.ndarray) -> np.ndarray:
    """Tell which axes of points of BOX are at a face: (points, 3)."""
    return np.isclose(np.abs(points), [0.5, 1.0, 2.0], **ROUNDED)


@pytest.mark.parametrize("suffix", FORMATS)
def test_meshes_are_sampled_uniformly_by_area(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"box.{suffix.upper()}"
    path.write_bytes(exported(BOX, suffix))
    points = read_cloud(path, 20000)
    assert points.shape == (20000, 3)
    faces = on_box(points)
    assert faces.any(axis=1).all()
    # areas 2*4, 1*4 and 1*2 of 14
    for found, share in zip(faces.mean(axis=0), (8 / 14, 4 / 14, 2 / 14), strict=True):
        assert found == approx(share, **drawn((share * (1 - share)) ** 0.5, len(points)))


def exported(mesh: trimesh.Trimesh | trimesh.PointCloud, suffix: str) -> bytes:
    content: Any = mesh.export(file_type=suffix)
    return content.encode() if isinstance(content, str) else bytes(content)


def test_sampling_depends_on_seed_and_name_only(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.off", "b.off", "sub/a.off"):
        (tmp_path / name).write_text(TETRAHEDRON_OFF)
    first = read_cloud(tmp_path / "a.off", 64, seed=3)
    np.testing.assert_array_equal(first, read_cloud(tmp_path / "a.off", 64, seed=3))
    np.testing.assert_array_equal(first, read_cloud(tmp_path / "sub" / "a.off", 64, seed=3))
    assert (first != read_cloud(tmp_path / "b.off", 64, seed=3)).any()
    assert (first != read_cloud(tmp_path / "a.off", 64, seed=4)).any()


@pytest.mark.parametrize("header", ["OFF4 4 6", "OFF 4 4 6", "OFF\n# comment\n\n4 4 6"])
def test_headers_of_modelnet_off_files(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.off").write_text(TETRAHEDRON_OFF)
    plain = read_cloud(tmp_path / "a.off", 128)
    (tmp_path / "a.off").write_text(TETRAHEDRON_OFF.replace("OFF\n4 4 6", header))
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.off", 128), plain)


def test_several_objects_and_missing_materials_in_one_obj(tmp_path: Path) -> None:
    text = "mtllib gone.mtl\n"
    for index, x in enumerate((0.0, 5.0)):
        text += f"o part{index}\nusemtl paint{index}\n"
        text += f"v {x} 0 0\nv {x} 1 0\nv {x} 0 1\nf {3 * index + 1} {3 * index + 2} {3 * index + 3}\n"
    (tmp_path / "a.obj").write_text(text)
    points = read_cloud(tmp_path / "a.obj", 400)
    left = points[:, 0] < 2
    assert 150 < left.sum() < 250
    assert np.ptp(points[left, 0]) == 0


def test_points_stay_as_the_file_has_them(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).normal(size=(200, 6)) + 1e9
    np.save(tmp_path / "a.npy", stored)
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npy", 200), stored[:, :3])


def test_point_files_are_thinned_by_a_random_subset(tmp_path: Path) -> None:
    # points 0, 1, 2, ... of a line: whatever is chosen has steps that are whole multiples of the smallest
    np.save(tmp_path / "a.npy", np.arange(200)[:, None] * np.array([1.0, 0.0, 0.0]))
    cloud = read_cloud(tmp_path / "a.npy", 50)
    steps = np.diff(cloud[:, 0]) / np.diff(cloud[:, 0]).min()
    np.testing.assert_array_equal(steps, np.round(steps))
    assert steps.min() > 0
    assert 150 < steps.sum() < 200
    assert len(np.unique(np.round(steps))) > 4
    np.testing.assert_array_equal(cloud, read_cloud(tmp_path / "a.npy", 50))
    assert (cloud != read_cloud(tmp_path / "a.npy", 50, seed=1)).any()


def test_ply_without_faces_is_a_point_cloud(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(30, 3))
    (tmp_path / "a.ply").write_bytes(exported(trimesh.PointCloud(points), "ply"))
    np.save(tmp_path / "a.npy", points.astype(np.float32))
    cloud = read_cloud(tmp_path / "a.ply", 30)
    np.testing.assert_array_equal(cloud, read_cloud(tmp_path / "a.npy", 30))


def test_y_up_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(30, 3)))
    upright = read_cloud(tmp_path / "a.npy", 30, up_axis="y")
    np.testing.assert_array_equal(upright[:, 2], read_cloud(tmp_path / "a.npy", 30)[:, 1])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.off", "OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "a.off: the mesh has no faces"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "a.obj: the mesh has no faces"),
        ("a.off", TETRAHEDRON_OFF[:30], "a.off: not a complete OFF file"),
        ("a.off", TETRAHEDRON_OFF.replace("3 1 2 3", "3 1 2 9"), "a.off: not a complete OFF file"),
        ("a.off", TETRAHEDRON_OFF.replace("3 1 2 3", "3 1 2 -1"), "a.off: not a complete OFF file"),
        ("a.off", TETRAHEDRON_OFF.replace("1 0 0", "nan 0 0"), "a.off: point 1 has a coordinate that is NaN"),
        ("a.off", TETRAHEDRON_OFF.replace("1 0 0", "1e99 0 0"), r"a.off: a coordinate is 1e\+99, beyond 1e\+15"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "a.off: the mesh has no surface"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n0 0 0\n0 0 0\n3 0 1 2\n", "a.off: the mesh has no surface"),
        ("a.stl", "nothing", r"a.stl: not a complete STL file \(7 bytes\)"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 3\n", "a.ply: not a complete PLY file"),
        ("a.xyz", "1 1 1\n" * 40, "a.xyz: the shape has no extent"),
        ("a.xyz", "0.1 0.2 0.3\n" * 40, "a.xyz: the shape has no extent"),
        ("a.xyz", "1 nan 3\n4 inf 6\n", "a.xyz: point 0 has a coordinate that is NaN or infinite"),
        ("a.glb", "", r"a.glb: format '.glb' is unknown; give one of npy, obj, off"),
        ("a", "", r"a: format '\(no suffix\)' is unknown"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=complaint):
        read_cloud(tmp_path / name, 32)


def test_bad_arguments(tmp_path: Path) -> None:
    (tmp_path / "a.off").write_text(TETRAHEDRON_OFF)
    with pytest.raises(InputError, match="num_points is 1; ask for at least 2"):
        read_cloud(tmp_path / "a.off", 1)
    with pytest.raises(InputError, match="seed is -1"):
        read_cloud(tmp_path / "a.off", 8, seed=-1)
    with pytest.raises(InputError, match="b.off: there is no such file"):
        read_cloud(tmp_path / "b.off", 8)
    with pytest.raises(InputError, match="up_axis is 'x'"):
        read_cloud(tmp_path / "a.off", 8, up_axis="x")


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(FORMATS), st.integers(0, 900), st.binary(min_size=1, max_size=12), st.booleans())
def test_damaged_meshes_give_nothing_but_input_errors(suffix: str, place: int, damage: bytes, cut: bool) -> None:
    content = bytearray(exported(BOX, suffix))
    place = min(place, len(content) - 1)
    content[place : None if cut else place + len(damage)] = damage
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        path.write_bytes(content)
        try:
            assert np.isfinite(read_cloud(path, 16)).all()
        except InputError as error:
            assert str(error).startswith(str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of tetrahedra."""
    for name, counts in {"pyramid": (2, 1), "needle": (3, 2)}.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            (tmp_path / name / split).mkdir(parents=True)
            for number in range(count):
                text = TETRAHEDRON_OFF.replace("0 0 1", "0 0 9") if name == "needle" else TETRAHEDRON_OFF
                (tmp_path / name / split / f"{name}_{split}_{number}.off").write_text(text)
    return tmp_path


def test_folders_become_clouds(folder: Path) -> None:
    (folder / "pyramid" / "train" / "notes.md").write_text("not a shape")
    (folder / "pyramid" / "train" / ".hidden.off").write_text("not a shape")
    (folder / ".git" / "train").mkdir(parents=True)
    (folder / "docs").mkdir()
    train = read_folder(folder, "train", 32)
    assert train.class_names == ("needle", "pyramid")
    np.testing.assert_array_equal(train.labels, [0, 0, 0, 1, 1])
    assert train.names[0] == "needle/needle_train_0.off"
    for name, cloud in zip(train.names, train.points, strict=True):
        label, file = name.split("/")
        np.testing.assert_array_equal(cloud, read_cloud(folder / label / "train" / file, 32))
    assert len(read_folder(folder, "test", 32)) == 3


def test_one_note_says_what_was_passed_over(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(read_folder(folder, "train", 32)) == 5
    assert caplog.messages == []
    train = folder / "needle" / "train"
    for name in ("a.jpg", "b.JPG", "LICENSE", ".hidden.off", ".DS_Store", "mine.off"):
        (train / name).write_text(TETRAHEDRON_OFF)
    (folder / "pyramid" / "train" / "c.jpg").touch()
    (train / "gone.off").symlink_to("nowhere.off")
    (train / "circle.off").symlink_to("circle.off")
    (train / "more.off").mkdir()
    (train / "linked.off").symlink_to(folder / "pyramid" / "train" / "pyramid_train_0.off")
    (folder / "raw").mkdir()
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "mine.off" and allowed(path, mode))
    read = read_folder(folder, "train", 32)
    assert caplog.messages == [
        f"{folder} (train): passed over .jpg (3), broken links (2), folders (1), hidden (1), without permission to "
        "read (1), without suffix (1); no class, for want of train/ and test/: raw"
    ]
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name not in ("raw", "mine.off"))
    caplog.clear()
    read_folder(folder, "train", 32)
    assert caplog.messages[0].endswith("want of train/ and test/: raw (without permission to enter)")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "mine.off")
    assert [name for name in read.names if "linked" in name] == ["needle/linked.off"]
    assert len(read) == 6
    caplog.clear()
    read_folder(folder, "test", 32)
    assert caplog.messages == [f"{folder} (test): no class, for want of train/ and test/: raw"]


def test_files_of_other_formats_are_named_where_there_is_nothing_else(folder: Path) -> None:
    for path in folder.glob("needle/*/*"):
        path.rename(path.with_suffix(".step"))
    with pytest.raises(InputError, match=r"no mesh or point file to train on \(passed over: .step \(3\)\); put some"):
        read_folder(folder, "train")
    for path in folder.glob("pyramid/*/*"):
        path.rename(path.with_suffix(".iges"))
    with pytest.raises(InputError, match=r"file in test/ \(passed over: .step \(2\), .iges \(1\)\); put some there"):
        read_folder(folder, "test")


@pytest.mark.parametrize("place", ["needle/train/caf\udce9.off", "caf\udce9/train/a.off"])
def test_names_that_are_not_text_are_refused(folder: Path, place: str) -> None:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TETRAHEDRON_OFF)
    with pytest.raises(InputError, match=r"/caf\\xe9(.off)?: the name is not in UTF-8; rename it") as caught:
        read_folder(folder, "train", 32)
    assert str(caught.value).encode("utf-8")


def test_new_files_change_no_other(folder: Path) -> None:
    before = read_folder(folder, "train", 32)
    (folder / "needle" / "train" / "a.off").write_text(TETRAHEDRON_OFF)
    after = read_folder(folder, "train", 32)
    np.testing.assert_array_equal(after.points[1:], before.points)


def test_progress_goes_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_folder(folder, "test", 32)
    assert capsys.readouterr() == ("", "")
    read_folder(folder, "test", 32, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading test shapes" in err


def test_bad_folders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(InputError, match="split is 'val'"):
        read_folder(folder, "val")
    with pytest.raises(InputError, match="there is no such folder"):
        read_folder(folder / "gone", "train")
    with pytest.raises(InputError, match="no class folders; arrange the files as class/train"):
        read_folder(tmp_path_factory.mktemp("empty"), "train")
    (folder / "cube" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cube/train: no mesh or point file to train on"):
        read_folder(folder, "train")
    assert read_folder(folder, "test", 32).num_classes == 3
    for path in folder.glob("*/test/*"):
        path.unlink()
    with pytest.raises(InputError, match="no class has a mesh or point file in test/"):
        read_folder(folder, "test")
