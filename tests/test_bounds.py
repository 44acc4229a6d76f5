"""Files that ask for far more than they are: each is refused before it gets it, and a bound can be raised."""

import lzma
import os
import zipfile

import h5py
import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk

from csgnn_dgl import bounds
from csgnn_dgl.data import read_cloud, read_modelnet40, read_structures
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CLASSIFIERS, CSGNN, PointNet
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.training.config import read_yaml
from pipelines.modelnet import main
from pipelines.terminal import say, visible


def test_a_data_set_that_announces_far_more_than_its_file_has(tmp_path):
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file.create_dataset("data", shape=(1_500_000, 1024, 3), dtype="f4", chunks=(64, 1024, 3))
        file["label"] = np.zeros(2, dtype=np.uint8)
    with pytest.raises(InputError, match="it announces 18,432,000,000 bytes in .*set CSGNN_BOUNDS to raise"):
        read_modelnet40(tmp_path, "train", "z")


@pytest.mark.parametrize("key", ["data", "label"])
def test_data_in_other_files_are_not_followed(key, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(6 * 40 * 3 * 4))
    points, labels = np.ones((6, 40, 3), dtype="f4"), np.zeros(6, dtype=np.uint8)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        for name, values in (("data", points), ("label", labels)):
            place = [(str(tmp_path / "secret"), 0, values.nbytes)]
            file.create_dataset(name, values.shape, values.dtype, external=place if name == key else None)
    with pytest.raises(InputError, match=f"the data set /{key} is stored in other files"):
        read_modelnet40(tmp_path, "train", "z", 32)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"], file["label"] = points, labels
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"], file["label"] = points, labels
        del file[key]
        file[key] = h5py.ExternalLink("other.h5", key)
    with pytest.raises(InputError, match=f"there is no data set '{key}'"):
        read_modelnet40(tmp_path, "train", "z", 32)


@pytest.mark.parametrize("name", ["a.extxyz.xz", "a.cif.xz", "vasprun.xml.xz"])
def test_what_unpacks_to_far_more_than_it_is(name, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "UNPACKED", 2**20)
    (tmp_path / name).write_bytes(lzma.compress(b" " * 2**23))
    with pytest.raises(InputError, match="it announces .* bytes in"):
        read_structures(tmp_path / name)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.pcd", b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 9\nHEIGHT 1\nPOINTS 4000000000\nDATA {}\n" + bytes(50)),
        ("a.off", b"OFF\n4000000000 1 0\n0 0 0\n"),
        ("a.ply", b"ply\nformat {} 1.0\nelement vertex 4000000000\nproperty float x\nend_header\n1\n"),
        ("a.obj", b"o x\n" * 20_000),
        ("a.stl", bytes(80) + b"\xff\xff\xff\xff" + bytes(100)),
        ("a.xyz", b"4000000000\n0 0 0\n1 1 1\n"),
    ],
)  # fmt: skip
def test_what_counts_more_than_follows(name, content, tmp_path):
    for kind in (b"ascii", b"binary", b"binary_compressed", b"binary_little_endian"):
        (tmp_path / name).write_bytes(content.replace(b"{}", kind))
        with pytest.raises(InputError, match=name):
            read_cloud(tmp_path / name)


def test_an_array_that_is_not_there(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((40, 3)))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(40, 3), }        ", b"(40000000000, 3),}")
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match="it ends after 960 of 960000000000 bytes"):
        read_cloud(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("4000000000\nProperties=species:S:1:pos:R:3\nC 0 0 0\n", "4000000000 atoms are announced and 1 lines follow"),
        ("1\nProperties=species:S:1:pos:R:300000000\nC 0 0 0\n", "they have 300,000,001 columns"),
        (f"1\n{'a=b ' * 300_000}\nC 0 0 0\n", "it has 1,200,000 letters"),
    ],
)
def test_headers_of_extended_xyz(text, complaint, tmp_path):
    (tmp_path / "a.extxyz").write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_structures(tmp_path / "a.extxyz")


def test_a_name_is_not_split_and_a_pipe_not_waited_for(tmp_path):
    bulk("C").write(tmp_path / "x@y.cif")
    assert read_structures(tmp_path / "x@y.cif").num_atoms == [2]
    (tmp_path / "data").mkdir()
    for name in ("data/shape_names.txt", "data/train_files.txt", "some.yaml", "a.off", "a.extxyz", "a.ckpt"):
        os.mkfifo(tmp_path / name)
    for read, name in (
        (read_yaml, "some.yaml"),
        (read_cloud, "a.off"),
        (read_structures, "a.extxyz"),
        (read_checkpoint, "a.ckpt"),
    ):
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)
    with pytest.raises(InputError, match="no regular file"):
        read_modelnet40(tmp_path / "data", "train")


def test_entities_that_grow(tmp_path):
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    text = f'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY a0 "aaaaaaaaaa">{entities}]><modeling>&a11;</modeling>'
    (tmp_path / "vasprun.xml").write_text(text)
    with pytest.raises(InputError, match="not a complete vasprun.xml .*amplification"):
        read_structures(tmp_path / "vasprun.xml")


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 20))


@pytest.mark.parametrize(
    "text, complaint",
    [
        (LAUGHS, "it has 100,001 or more values"),
        ("a: &a [*a]\n", "it has 100,001 or more values|nested more than 50 deep"),
        ("a: " + "[" * 200 + "]" * 200, "nested"),
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: 2024-13-45\n", "cannot be read as YAML: month must be in 1..12"),
        ("a: 2024-10-05\n", "has 2024-10-05, which YAML takes for a date"),
        ("a: !!binary aGk=\n", "which YAML takes for a bytes"),
        ("a: !!python/object/apply:os.system [ls]\n", "cannot be read as YAML"),
        ("a: b\n" * 300_000, "it has 1,500,000 bytes"),
    ],
)  # fmt: skip
def test_configs_of_bad_will(text, complaint, tmp_path):
    (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(InputError, match=f"some.yaml.*({complaint})"):
        read_yaml(tmp_path / "some.yaml")


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"num_spheres": 10**9}, "num_spheres is 1,000,000,000"),
        ({"num_spheres": 10**5}, "they make 4,200,000 vertices"),
        ({"level": 12}, "they make|level"),
        ({"base_width": 900_000}, "its model takes|too large|Overflow"),
    ],
)
def test_networks_that_fill_the_memory(options, complaint, tmp_path, capsys):
    network = {"class_path": "csgnn_dgl.models.CSGNN", "init_args": {**CSGNN.tiny, **options}}
    (tmp_path / "some.yaml").write_text(yaml.safe_dump({"model": {"network": network}}))
    assert main(["fit", "--config", str(tmp_path / "some.yaml"), "--runs", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert any(part in message for part in complaint.split("|")), message
    CLASSIFIERS.write(tmp_path / "a.ckpt", CSGNN(**CSGNN.tiny))
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    checkpoint["csgnn"]["config"].update(options)
    torch.save(checkpoint, tmp_path / "b.ckpt")
    with pytest.raises(InputError, match="b.ckpt"):
        CLASSIFIERS.load(tmp_path / "b.ckpt")


def test_checkpoints_that_are_packed_or_pretend(tmp_path):
    CLASSIFIERS.write(tmp_path / "a.ckpt", PointNet(**PointNet.tiny))
    with (
        zipfile.ZipFile(tmp_path / "a.ckpt") as whole,
        zipfile.ZipFile(tmp_path / "b.ckpt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in whole.namelist():
            packed.writestr(member, whole.read(member))
    with pytest.raises(InputError, match="b.ckpt is packed, which no checkpoint is"):
        read_checkpoint(tmp_path / "b.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    torch.save({**checkpoint, "state_dict": {"network.x": torch.zeros(1).expand(10**12)}}, tmp_path / "c.ckpt")
    with pytest.raises(InputError, match="c.ckpt: it announces 4,000,000,000,000 bytes"):
        read_checkpoint(tmp_path / "c.ckpt")
    for key, value in {"model": 3, "class_names": "ab", "config": [], "format": [3], "task": {}}.items():
        torch.save({**checkpoint, "csgnn": {**checkpoint["csgnn"], key: value}}, tmp_path / "d.ckpt")
        with pytest.raises(InputError, match="d.ckpt"):
            read_checkpoint(tmp_path / "d.ckpt")


def test_bounds_are_raised_by_the_environment(monkeypatch):
    with pytest.raises(InputError, match="level: 9 has 2,621,442 vertices, more than 2,000,000; .*CSGNN_BOUNDS=2"):
        icosphere(9)
    monkeypatch.setenv(bounds.VARIABLE, "2")
    bounds.check("level", "{}", 2_621_442, bounds.NODES)
    with pytest.raises(InputError, match="more than 4,000,000"):
        bounds.check("level", "{}", 5_000_000, bounds.NODES)
    for value in (12, 99.5, 3.2e7):
        monkeypatch.setenv(bounds.VARIABLE, "1")
        with pytest.raises(InputError) as refused:
            bounds.check("level", "{}", value * bounds.NODES, bounds.NODES)
        monkeypatch.setenv(bounds.VARIABLE, str(refused.value).split(f"{bounds.VARIABLE}=")[1].rstrip("."))
        bounds.check("level", "{}", value * bounds.NODES, bounds.NODES)
    for wrong in ("much", "0", "nan", "inf"):
        monkeypatch.setenv(bounds.VARIABLE, wrong)
        with pytest.raises(InputError, match=f"CSGNN_BOUNDS is '{wrong}'; give a positive number"):
            bounds.scale()


def test_nothing_steers_the_terminal(capsys, tmp_path):
    assert visible("a\x1b[2J\x07\x9b1m\r\u202eb\n\tc é") == "a\\x1b[2J\\x07\\x9b1m\\r\\u202eb\n\tc é"
    say("a\x1b[31mb")
    assert capsys.readouterr().out == "a\\x1b[31mb\n"
    assert main(["fit", "--data.source", str(tmp_path / "x\x1b[2Jy"), "--runs", str(tmp_path)]) == 2
    assert "\x1b" not in capsys.readouterr().err
