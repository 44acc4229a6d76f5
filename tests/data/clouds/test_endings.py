"""Texts that were cut short: refused where that shows, told where it may be, and the limits of both."""

import logging

import numpy as np
import pytest
import torch
import trimesh

from csgnn_dgl.data.clouds.formats import READERS
from csgnn_dgl.errors import InputError
from tests.tolerances import ROUNDED, approx

BALL = trimesh.creation.icosphere(1)
POINTS = np.random.default_rng(0).normal(size=(30, 3))


def contents():
    """Whole files by suffix, and whether they say themselves how long they are."""
    rows = [" ".join(f"{value:.6f}" for value in row) for row in POINTS]
    head = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 30\nHEIGHT 1\nPOINTS 30\nDATA ascii\n"
    return {
        ".off": (BALL.export(file_type="off") + "\n", True),
        ".ply": (BALL.export(file_type="ply", encoding="ascii").decode() + "\n", True),
        ".pcd": (head + "\n".join(rows) + "\n", True),
        ".pts": ("\n".join(["30", *rows]) + "\n", True),
        ".obj": (BALL.export(file_type="obj") + "\n", False),
        ".xyz": ("\n".join(rows) + "\n", False),
        ".csv": ("x,y,z\n" + "\n".join(rows).replace(" ", ",") + "\n", False),
    }


@pytest.mark.parametrize("suffix", contents())
def test_what_is_cut_is_refused_told_or_ends_in_a_whole_line(suffix, tmp_path, caplog):
    text, counts = contents()[suffix]
    (tmp_path / f"a{suffix}").write_text(text)
    points, faces = READERS[suffix](tmp_path / f"a{suffix}")
    for cut in np.linspace(1, len(text.rstrip()) - 1, 60).astype(int):
        part = tmp_path / f"b{suffix}"
        part.write_text(text[:cut])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            try:
                found, triangles = READERS[suffix](part)
            except InputError as error:
                assert f"b{suffix}" in str(error)
                continue
        same = found.shape == points.shape and (
            faces is None or (triangles is not None and triangles.shape == faces.shape)
        )
        told = "may lack digits" in caplog.text
        assert same if counts else told or text[:cut].endswith("\n") or text[cut] in "\n ", text[max(cut - 30, 0) : cut]


def test_numbers_that_lack_digits(tmp_path):
    rows = [" ".join(f"{value:.6f}" for value in row) for row in POINTS]
    for end, complaint in ((rows[-1][:-2], "the file ends within a number"), (rows[-1].rsplit(" ", 1)[0], "2 columns")):
        (tmp_path / "a.xyz").write_text("\n".join([*rows[:-1], end]))
        with pytest.raises(InputError, match=f"a.xyz: .*{complaint}"):
            READERS[".xyz"](tmp_path / "a.xyz")
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2")
    with pytest.raises(InputError, match="a.obj: the file ends within face 2"):
        READERS[".obj"](tmp_path / "a.obj")


@pytest.mark.parametrize(
    "value, complaint", [(1e30, "a coordinate is 1e\\+30, beyond"), (1e-30, "the shape is only 1e-30 across")]
)
def test_sizes_are_called_what_they_are(value, complaint, tmp_path):

    from csgnn_dgl.data import PointClouds, read_cloud
    from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball

    (tmp_path / "a.xyz").write_text("".join(f"{i * value!r} 0 0\n" for i in range(2)) * 20)
    with pytest.raises(InputError, match=complaint):
        read_cloud(tmp_path / "a.xyz", 40)
    points = np.zeros((1, 2, 3))
    points[0, 0] = value
    with pytest.raises(InputError, match="cloud 0 (has a coordinate of 1e\\+30, beyond|is only 1e-30 across)"):
        PointClouds(points, np.array([0]), ("a",))
    assert float(scale_to_unit_ball(torch.from_numpy(points)).norm(dim=-1).max()) == approx(1.0, **ROUNDED)
    size = "large" if value > 1 else "small"
    with pytest.raises(ValueError, match=f"1e[+-]30, too {size} to be squared in torch.float32"):
        scale_to_unit_ball(torch.from_numpy(points).float())
