"""Compiling the kernels: once, by one of several processes, into files that are whole and ours; or torch, and why."""

import multiprocessing
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from csgnn_dgl.graphs import ConcentricLevel
from csgnn_dgl.nn import IntraSphereConv
from csgnn_dgl.nn.ops import build, library, twins
from pipelines.__main__ import main

NO_KERNELS = "there are no compiled kernels: "


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of compiled libraries."""
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CSGNN_KERNELS", raising=False)
    kept = (library._libraries, library._tell, twins.times)
    for function in kept:
        function.cache_clear()
    yield tmp_path / "cache" / "kernels"
    for function in kept:
        function.cache_clear()


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that takes a moment, counts its calls in ``calls`` and writes a text; it does what ``script`` says."""
    path = tmp_path / "compiler"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\nfor last; do :; done\n. {tmp_path}/script\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "script").write_text(f'echo "$@" >> {tmp_path}/calls\nsleep 0.2\necho a library > "$last"\n')
    monkeypatch.setenv("CXX", str(path))
    return path


def calls(compiler: Path) -> int:
    file = compiler.with_name("calls")
    return len(file.read_text().splitlines()) if file.exists() else 0


def make() -> Path:
    return build.libraries(["float32"])["float32"]


def test_a_unit_is_compiled_once_and_that_is_said(
    cache: Path, compiler: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make()
    assert path.parent == cache and path.read_bytes().startswith(b"a library\n")
    assert make() == path and calls(compiler) == 1
    wanted = f"compiling the kernels for float32, once for this processor (some seconds), in {cache}"
    assert caplog.messages == [wanted]
    assert sorted(file.name for file in cache.iterdir()) == [path.name, "lock"]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_units_are_compiled_side_by_side(cache: Path, compiler: Path) -> None:
    # Each waits until both have begun.
    folder = compiler.parent
    script = (
        f'touch {folder}/begun-$$\nuntil [ $(ls {folder}/begun-* | wc -l) = 2 ]; do sleep 0.01; done\necho > "$last"'
    )
    compiler.with_name("script").write_text(script)
    assert build.libraries(["float32", "float64"]).keys() == {"float32", "float64"}


def test_of_three_processes_one_compiles(cache: Path, compiler: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=make) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert calls(compiler) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_library_is_compiled_again(cache: Path, compiler: Path, damage: str) -> None:
    path = make()
    whole = path.read_bytes()
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    path.write_bytes({"cut": whole[:-1], "flipped": flipped, "empty": b""}[damage])
    assert make() == path and path.read_bytes() == whole
    assert calls(compiler) == 2


def test_other_flags_give_another_library(cache: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make()
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    second = make()
    assert first != second
    # Under the name of the other it is not taken: the hash tells what it was made of.
    second.write_bytes(first.read_bytes())
    make()
    assert calls(compiler) == 3


@pytest.mark.parametrize("whose", ["file", "folder"])
@pytest.mark.parametrize("how", ["writable", "owned"])
def test_what_others_can_change_is_refused(
    cache: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch, whose: str, how: str
) -> None:
    path = make()
    wrong = path if whose == "file" else cache
    if how == "writable":
        wrong.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(wrong, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(build.CannotBuild, match=r"belongs to another user or can be written by others; remove it"):
        make()
    assert not library.available() and calls(compiler) == 1


def refused(caplog: pytest.LogCaptureFixture) -> str:
    """Run a layer where there are no kernels; return the one sentence that says why."""
    caplog.clear()
    conv, features = IntraSphereConv(2, 3), torch.randn(2, 12, 1, 2)
    for _ in range(2):
        assert conv(ConcentricLevel(0, 2), features).shape == (2, 12, 1, 3)
    conv.form = "compiled"
    with pytest.raises(ValueError, match=r"form='compiled' needs g\+\+"):
        conv(ConcentricLevel(0, 2), features)
    (message,) = (text for text in caplog.messages if not text.startswith("compiling"))
    assert message.startswith(NO_KERNELS) and "run on torch alone" in message and "\n" not in message
    return message


def test_torch_computes_where_there_is_no_compiler(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "there is no compiler 'no-such-compiler'" in refused(caplog)


def test_torch_computes_where_the_compiler_fails(cache: Path, compiler: Path, caplog: pytest.LogCaptureFixture) -> None:
    compiler.with_name("script").write_text('echo "out of luck" >&2\necho more >&2\nexit 1\n')
    assert "compiler could not compile them (out of luck)" in refused(caplog)
    assert [file.name for file in cache.iterdir()] == ["lock"]


def test_torch_computes_where_the_compiler_never_ends(
    cache: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "TIME_LIMIT", 0.3)
    compiler.with_name("script").write_text(f"sh -c 'echo $$ > {compiler.parent}/child; exec sleep 600'\n")
    assert "took longer than 0.3 s" in refused(caplog)
    assert [file.name for file in cache.iterdir()] == ["lock"]
    child, deadline = compiler.with_name("child"), time.monotonic() + 10
    if child.exists() and child.read_text().strip():  # what the compiler started has ended too
        while not gone(int(child.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_torch_computes_where_the_folder_cannot_be_written(
    tmp_path: Path, cache: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CSGNN_CACHE", str(tmp_path / "file"))
    assert "cannot be read or written" in refused(caplog)
    assert calls(compiler) == 0


def test_torch_computes_where_the_library_cannot_be_loaded(
    cache: Path, compiler: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert NO_KERNELS in refused(caplog)
    assert calls(compiler) == 1


def test_torch_computes_where_another_process_never_lets_go(
    cache: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make().unlink()
    monkeypatch.setattr(build, "TIME_LIMIT", 0.2)
    with build._locked(cache / "lock"):
        assert f"another process has held {cache / 'lock'} for 0.2 s" in refused(caplog)


def test_what_a_killed_process_left_is_removed(cache: Path, compiler: Path) -> None:
    make().unlink()
    (cache / ".part-killed.so").write_text("half")
    make()
    assert not list(cache.glob(".part-*"))


def test_the_program_says_where_the_libraries_are(
    cache: Path, compiler: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"radial_forward wide": {"float32": 2e-5, "bfloat16": 1e-5}}
    monkeypatch.setattr(library, "product_times", lambda: seconds)
    assert main(["build-kernels"]) == 0
    shown = capsys.readouterr().out
    assert f"kernels for float32, float64, bfloat16, bfloat16_twins are in {cache}" in shown
    row = next(line for line in shown.splitlines() if "radial_forward wide" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["radial_forward wide", "20", "10", "bfloat16"]
    compiler.with_name("script").write_text("exit 1")
    for path in cache.glob("*.so"):
        path.unlink()
    assert main(["build-kernels"]) == 2
    assert "error: the kernels cannot be made: " in capsys.readouterr().err
    assert main(["build-kernels", "--fast"]) == 2
    assert "unrecognized arguments: --fast" in capsys.readouterr().err
