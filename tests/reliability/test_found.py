"""Damaged files that were once not dealt with."""

import struct

import laspy
import numpy as np
import pytest
from ase.build import bulk

from csgnn_dgl.data import read_cloud, read_structures
from csgnn_dgl.errors import InputError


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_a_scan_with_thousands_of_millions_of_records(suffix, tmp_path):
    cloud = laspy.create(point_format=0, file_version="1.2")
    cloud.x, cloud.y, cloud.z = np.random.default_rng(0).normal(size=(3, 40))
    path = tmp_path / f"a.{suffix}"
    cloud.write(path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 100, 2**31)
    path.write_bytes(content)
    with pytest.raises(InputError, match="2147483648 records are announced"):
        read_cloud(path)


def test_a_packed_scan_with_thousands_of_millions_of_chunks(tmp_path):
    cloud = laspy.create(point_format=0, file_version="1.2")
    cloud.x, cloud.y, cloud.z = np.random.default_rng(0).normal(size=(3, 40))
    cloud.write(tmp_path / "a.laz")
    assert read_cloud(tmp_path / "a.laz", 40).shape == (40, 3)
    content = bytearray((tmp_path / "a.laz").read_bytes())
    (start,) = struct.unpack_from("<I", content, 96)
    (table,) = struct.unpack_from("<q", content, start)
    struct.pack_into("<I", content, table + 4, 2**29)
    (tmp_path / "a.laz").write_bytes(content)
    with pytest.raises(InputError, match="536870912 chunks are announced"):
        read_cloud(tmp_path / "a.laz")


def test_a_site_whose_occupancy_is_no_number(tmp_path):
    bulk("C").write(tmp_path / "a.cif")
    text = (tmp_path / "a.cif").read_text()
    assert text.count("1.0000") == 2
    (tmp_path / "a.cif").write_text(text.replace("1.0000", "[[[["))
    with pytest.raises(InputError, match=r"a.cif: snapshot 0: a site has C = '\[\[\[\['; give a number"):
        read_structures(tmp_path / "a.cif")
