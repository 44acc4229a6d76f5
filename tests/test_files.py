"""Files that are written whole, and where those stand that can be made again."""

import os
from pathlib import Path

import pytest

from csgnn_dgl.files import cache_folder


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
