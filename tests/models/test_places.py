"""Weights by name, file and address, with checksums."""

import hashlib
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import csgnn_dgl
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CSGNN
from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.models.places import FOLDER, weights_file

SMALL = FOLDER / "builtin-small.ckpt"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


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


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_comes_with_the_package_is_listed_with_a_card_and_is_small() -> None:
    found = {weights.name: weights for weights in csgnn_dgl.pretrained()}
    assert {"builtin-small", "dos"} <= set(found)
    for weights in found.values():
        assert weights.path.stat().st_size < 5e6
        assert weights.card.read_text("utf-8").startswith(f"# {weights.name}\n")
        assert str(weights).startswith(f"{weights.name}: ")
        assert f"[{weights.name}]({weights.name}.md)" in (FOLDER / "README.md").read_text("utf-8")
    assert (found["builtin-small"].task, found["builtin-small"].model) == ("classification", "csgnn")
    for weights in found.values():
        if weights.task == "classification":
            card = weights.card.read_text("utf-8")
            assert digest(weights.path) in card
            assert f"{weights.details['test_accuracy']['SO3']:.1%}" in card


def test_weights_are_found_by_name_and_their_matrices_are_kept_in_float16() -> None:
    model = CSGNN.from_pretrained("builtin-small")
    assert model.class_names == csgnn_dgl.data.BUILTIN_CLASSES
    assert not model.training
    assert {own.dtype for own in model.parameters()} == {torch.float32}
    stored = read_checkpoint(SMALL)["state_dict"]
    for name, value in model.state_dict().items():
        kept = stored[f"network.{name}"]
        assert kept.dtype == (torch.float16 if value.dim() > 1 else value.dtype)
        assert torch.equal(kept.to(value.dtype), value)


def test_the_kind_of_the_weights_has_to_be_that_of_the_class() -> None:
    with pytest.raises(InputError, match="dos.ckpt holds no classifier of point clouds"):
        CSGNN.from_pretrained("dos")


def test_a_file_is_taken_as_it_is_or_with_its_checksum(tmp_path: Path) -> None:
    file = Path(shutil.copy(SMALL, tmp_path / "mine.ckpt"))
    assert weights_file(file) == weights_file(str(file), digest(file).upper()) == file
    assert weights_file(tmp_path) == tmp_path
    wrong = "0" * 64
    with pytest.raises(InputError, match=f"mine.ckpt has the SHA-256 {digest(file)} and not {wrong}"):
        weights_file(file, wrong)
    with pytest.raises(InputError, match="is a folder, and sha256 is for a file"):
        weights_file(tmp_path, wrong)
    with pytest.raises(InputError, match="sha256 is 'abc'; give 64 hexadecimal digits"):
        weights_file(file, "abc")


def test_a_name_means_the_package_and_a_path_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin-small").mkdir()
    assert weights_file("builtin-small") == SMALL
    assert weights_file("./builtin-small") == Path("builtin-small")


@pytest.mark.parametrize("word", ["modelnet", "../weights/dos", "no/such.ckpt", "ftp://host/x.ckpt"])
def test_other_words_are_refused_with_the_names_there_are(word: str) -> None:
    with pytest.raises(InputError, match=r"is no checkpoint or run folder, and no weights .*builtin-small.*dos"):
        weights_file(word)


def test_an_address_is_fetched_once_and_only_with_its_checksum(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csgnn_dgl.models.places.cache_folder", lambda: tmp_path / "cache")
    address, folder = server
    file = Path(shutil.copy(SMALL, folder / "large.ckpt"))
    url, checksum = f"{address}/large.ckpt", digest(file)
    with pytest.raises(InputError, match="large.ckpt is fetched only with its checksum"):
        CSGNN.from_pretrained(url)
    with pytest.raises(InputError, match=f"gave a file whose SHA-256 is {checksum} and not {'0' * 64}; it is not used"):
        CSGNN.from_pretrained(url, "0" * 64)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    points = torch.randn(2, 1024, 3)
    wanted = CSGNN.from_pretrained("builtin-small")(points)
    assert torch.equal(CSGNN.from_pretrained(url, checksum)(points), wanted)
    file.unlink()
    (kept,) = (tmp_path / "cache" / "weights").iterdir()
    assert weights_file(url, checksum) == kept
    kept.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"could not be fetched \(HTTP Error 404.*\); fetch it by hand"):
        weights_file(url, checksum)


def test_too_much_is_not_fetched(server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csgnn_dgl.models.places.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("csgnn_dgl.models.places.LARGEST", 1000)
    address, folder = server
    file = folder / "large.ckpt"
    file.write_bytes(bytes(2000))
    with pytest.raises(InputError, match="there are more than 1000 bytes"):
        weights_file(f"{address}/large.ckpt", digest(file))
