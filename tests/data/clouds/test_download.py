import io
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from csgnn_dgl.data import download_modelnet40, read_modelnet40
from csgnn_dgl.data.clouds import download
from csgnn_dgl.data.clouds.download import ARCHIVE, COUNTS, URLS, verify_modelnet40
from csgnn_dgl.errors import InputError

SMALL = {"train": 44, "test": 5}


def hdf5(shapes: int, num_points: int = 2048, classes: int = 40) -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(shapes)
    with h5py.File(buffer, "w") as file:
        file["data"] = rng.uniform(-1, 1, (shapes, num_points, 3)).astype(np.float32)
        file["label"] = (np.arange(shapes) % classes).astype(np.uint8)[:, None]
    return buffer.getvalue()


CONTENT = {
    "train_files.txt": b"".join(b"data/%s/ply_data_train%d.h5\n" % (ARCHIVE.encode(), i) for i in range(2)),
    "test_files.txt": b"data/%s/ply_data_test0.h5\n" % ARCHIVE.encode(),
    "shape_names.txt": "".join(f"class{i}\n" for i in range(40)).encode(),
    "ply_data_train0.h5": hdf5(40),
    "ply_data_train1.h5": hdf5(4),
    "ply_data_test0.h5": hdf5(5),
}


def archive(path: Path, content: dict[str, bytes] | None = None, link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{ARCHIVE}/", b"")
        for name, data in (CONTENT if content is None else content).items():
            file.writestr(name if "/" in name else f"{ARCHIVE}/{name}", data)
        if link:
            info = zipfile.ZipInfo(f"{ARCHIVE}/{link}")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    return path


class Quiet(SimpleHTTPRequestHandler):
    """Serve a folder; cut answers short whose address asks for it."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if "short" in self.path:
            outputfile.write(source.read(1000))
        else:
            super().copyfile(source, outputfile)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a local server and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
        httpd.shutdown()
        thread.join()


def test_an_archive_is_fetched_verified_and_ready_to_read(
    server: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, served = server
    archive(served / "good.zip", CONTENT | {"__MACOSX/._train_files.txt": b"x", "notes.md": b"x", "faces.json": b"[]"})
    target = tmp_path / "new" / "data"
    folder = download_modelnet40(target, [f"{address}/gone.zip", f"{address}/good.zip"], SMALL)
    assert folder == target / ARCHIVE
    assert sorted(os.listdir(target)) == [ARCHIVE]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert read_modelnet40(folder, "train").points.shape == (44, 1024, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "fetching from 127.0.0.1" in err
    # there already: no address is needed, nothing is written
    assert download_modelnet40(target, [], SMALL) == folder


def test_no_bar_if_not_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = archive(tmp_path / "good.zip").as_uri()
    download_modelnet40(tmp_path / "data", [url], SMALL, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"../ply_data_train7.h5": b"x"}, "has a member '../ply_data_train7.h5' that points outside"),
        ({"a/../../ply_data_train7.h5": b"x"}, "points outside"),
        ({"/tmp/ply_data_train7.h5": b"x"}, "points outside"),
        ({"C:/ply_data_train7.h5": b"x"}, "points outside"),
        ({"ply_data_train1.h5": hdf5(5)}, "the train split has 45 shapes of 2048 points in 40 classes, not 44"),
        ({"ply_data_test0.h5": hdf5(5, 1024)}, "the test split has 5 shapes of 1024 points"),
        ({"ply_data_train0.h5": hdf5(40, classes=20)}, "some class has no shape to train on"),
        ({"ply_data_test0.h5": hdf5(5)[:3000]}, "ply_data_test0.h5: the file is no complete HDF5 file"),
        ({"shape_names.txt": b"bed\ncar\n"}, "label 2 of shape 2 is out of range"),
        ({"test_files.txt": b"other.h5\n"}, "other.h5: there is no such file"),
    ],
)
def test_wrong_archives_are_not_used(tmp_path: Path, content: dict[str, bytes], reason: str) -> None:
    url = archive(tmp_path / "bad.zip", CONTENT | content).as_uri()
    with pytest.raises(InputError, match="ModelNet40 could not be downloaded") as caught:
        download_modelnet40(tmp_path / "data", [url], SMALL, progress=False)
    assert reason in str(caught.value)
    assert os.listdir(tmp_path / "data") == []
    assert sorted(os.listdir(tmp_path)) == ["bad.zip", "data"]


def test_links_are_not_used(tmp_path: Path) -> None:
    url = archive(tmp_path / "bad.zip", link="ply_data_train5.h5").as_uri()
    with pytest.raises(InputError, match="the archive has a link .*ply_data_train5.h5'; it is not used"):
        download_modelnet40(tmp_path / "data", [url], SMALL, progress=False)


def test_too_large_archives_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_UNPACKED", 1000)
    url = archive(tmp_path / "bad.zip").as_uri()
    with pytest.raises(InputError, match="far too large"):
        download_modelnet40(tmp_path / "data", [url], SMALL, progress=False)


def test_broken_archives_and_connections_are_reported_one_by_one(server: tuple[str, Path], tmp_path: Path) -> None:
    address, served = server
    whole = archive(served / "short.zip").read_bytes()
    (served / "cut.zip").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    (served / "flipped.zip").write_bytes(flipped)
    names = ("gone", "short", "cut", "flipped")
    urls = [f"{address}/{name}.zip" for name in names] + ["http://127.0.0.1:9/closed.zip"]
    with pytest.raises(InputError) as caught:
        download_modelnet40(tmp_path / "data", urls, SMALL, progress=False, timeout=5)
    message = str(caught.value)
    assert "gone.zip: HTTP Error 404" in message
    assert f"short.zip: the connection broke after 1000 of {len(whole)} bytes" in message
    assert "cut.zip: File is not a zip file" in message
    assert "flipped.zip: " in message
    assert "refused" in message
    assert message.endswith(
        f"on a machine with internet fetch {urls[0]} with a browser, unpack it into {tmp_path / 'data'} and give "
        f"{tmp_path / 'data' / ARCHIVE} as the data source."
    )
    assert "\n" not in message
    assert os.listdir(tmp_path / "data") == []


def test_an_incomplete_data_set_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / ARCHIVE
    folder.mkdir()
    with pytest.raises(InputError, match=r"is there but not complete \(.*shape_names.txt.*\); remove it"):
        download_modelnet40(tmp_path, [archive(tmp_path / "good.zip").as_uri()], SMALL)
    assert os.listdir(folder) == []


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there .*; choose another folder"):
        download_modelnet40(tmp_path / "file" / "data", [], SMALL)


def test_the_published_data_set() -> None:
    assert COUNTS == {"train": 9840, "test": 2468}
    assert len(URLS) >= 2
    assert all(url.startswith("https://") and url.endswith(f"{ARCHIVE}.zip") for url in URLS)


def test_other_modelnet40_files_are_not_taken_for_the_published(modelnet40_folder: Path) -> None:
    with pytest.raises(InputError, match="the train split has 9843 shapes of 1024 points in 40 classes, not 9840"):
        verify_modelnet40(modelnet40_folder)
