"""Files that are written whole, and where those stand that can be made again."""

import os
from pathlib import Path

import pytest

from csgnn_dgl.files import LEFTOVER, atomic_write, cache_folder, remove_leftovers


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CSGNN_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "csgnn_dgl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "csgnn_dgl"
    monkeypatch.setenv("CSGNN_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "within" / "a.ckpt") as file:
        assert file.name.startswith(LEFTOVER) and file.suffix == ".ckpt" and file.parent == tmp_path / "within"
        left = file.with_name(f"{LEFTOVER}left.ckpt")
        left.touch()
        raise RuntimeError
    (tmp_path / "within" / "b.ckpt").touch()
    assert left.exists() and not file.exists()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path / "within") == ["b.ckpt"]


def test_content_and_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    with atomic_write(tmp_path / "a.txt") as file:
        file.write_text("a")
    assert synced == [str(file), str(tmp_path)]
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with atomic_write(tmp_path / "a.txt") as file:
        file.write_text("b")
    assert (tmp_path / "a.txt").read_text() == "b"
