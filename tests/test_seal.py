"""Checksums within zip files."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from csgnn_dgl.seal import END_LENGTH, LENGTH, is_sealed, write_sealed


@pytest.fixture
def plain() -> bytes:
    """A small file of torch."""
    content = io.BytesIO()
    torch.save({"weights": torch.arange(40.0)}, content)
    return content.getvalue()


def sealed(content: bytes) -> bytes:
    file = io.BytesIO()
    write_sealed(content, file)
    return file.getvalue()


def test_a_sealed_file_is_read_as_before(plain: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.pt"
    file.write_bytes(plain)
    assert not is_sealed(file)
    file.write_bytes(sealed(plain))
    assert is_sealed(file)
    assert torch.equal(torch.load(file, weights_only=True)["weights"], torch.arange(40.0))
    assert zipfile.ZipFile(file).testzip() is None
    arrays = io.BytesIO()
    np.savez(arrays, a=np.arange(3))
    file.write_bytes(sealed(arrays.getvalue()))
    assert is_sealed(file) and np.load(file)["a"].tolist() == [0, 1, 2]


def test_every_flipped_bit_and_every_cut_is_noticed(plain: bytes, tmp_path: Path) -> None:
    whole = sealed(plain)
    file = tmp_path / "file.pt"
    file.write_bytes(whole)
    tail = len(whole) - LENGTH - END_LENGTH
    places = [(place, bit) for place in range(len(whole)) for bit in (range(8) if place >= tail else (place % 8,))]
    with file.open("r+b", buffering=0) as changed:
        for place, bit in places:
            changed.seek(place)
            changed.write(bytes([whole[place] ^ 1 << bit]))
            with pytest.raises(ValueError, match="its checksum does not fit"):
                is_sealed(file)
            changed.seek(place)
            changed.write(whole[place : place + 1])
    assert is_sealed(file)
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises((ValueError, RuntimeError, EOFError)):
            assert is_sealed(file) or torch.load(file, weights_only=True)


def test_only_plain_zip_files_are_sealed(plain: bytes) -> None:
    for content in (b"", b"no zip file at all, but long enough", sealed(plain)):
        with pytest.raises(ValueError, match="only a zip file without a comment"):
            sealed(content)
