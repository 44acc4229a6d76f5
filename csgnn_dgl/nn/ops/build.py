"""Compiling the kernels for the processor at hand, once per machine, and trusting only whole libraries of ours.

The sources are units, one for each type of features, each a library of its own: what is not used is not compiled. A
library is named by a fingerprint of sources, flags, compiler and processor, and ends with a hash of that and of its
content. Only files and folders count that belong to this user, or to root, and that nobody else may write.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from csgnn_dgl.files import atomic_write, cache_folder, remove_leftovers
from csgnn_dgl.notes import LOGGER

SOURCES = Path(__file__).with_name("cpp")
UNITS = ("float32", "float64", "bfloat16", "bfloat16_twins")
FLAGS = ("-O2", "-march=native", "-std=c++17", "-fPIC", "-fopenmp", "-Wno-unknown-pragmas", "-shared")
TIME_LIMIT = 300.0
"""Seconds that the compiler may take, and that is waited for another process which compiles."""
MODE = 0o644
_DIGEST = hashlib.sha256


class CannotBuild(Exception):
    """Why there are no kernels, as a part of a sentence."""


def folder() -> Path:
    """Return where the libraries are kept, whether it exists or not: ``kernels`` in the cache folder."""
    return cache_folder() / "kernels"


def libraries(units: Sequence[str]) -> dict[str, Path]:
    """Return the libraries of units, by name; compile those that are missing or damaged, side by side.

    The compiler is ``$CXX`` or ``g++``. Of several processes at once one compiles, and the others wait.

    Raises
    ------
    CannotBuild
        Where there is no compiler, it fails or takes too long, or the folder cannot be written or trusted.
    """
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    if not sys.platform.startswith("linux"):
        raise CannotBuild("they are for Linux only")
    if shutil.which(compiler[0]) is None:
        raise CannotBuild(f"there is no compiler {compiler[0]!r}; install g++ or name one by CXX")
    mark = fingerprint(compiler)
    paths = {unit: folder() / f"{unit}-{mark}.so" for unit in units}
    try:
        if all(_sound(path, mark) for path in paths.values()):
            return paths
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        assert_ours(folder())
        with _locked(folder() / "lock"):
            missing = [unit for unit, path in paths.items() if not _sound(path, mark)]
            if missing:
                _compile(compiler, {unit: paths[unit] for unit in missing}, mark)
    except OSError as error:
        where = error.filename or folder()
        raise CannotBuild(
            f"{where} cannot be read or written ({error.strerror}); set CSGNN_CACHE to a folder of your own"
        ) from error
    return paths


def fingerprint(compiler: Sequence[str]) -> str:
    """Name sources, flags, compiler and processor."""
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=False, timeout=TIME_LIMIT).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{compiler[0]} does not tell its version ({error})") from error
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    processor = sorted({line for line in lines if line.startswith(("model", "flags", "Features", "CPU part"))})
    sources = [part for path in sorted(SOURCES.iterdir()) for part in (path.name.encode(), path.read_bytes())]
    parts = [*sources, version, " ".join([*compiler, *FLAGS, *processor]).encode()]
    return _DIGEST(b"\0".join(parts)).hexdigest()[:16]


def assert_ours(path: Path) -> None:
    """Raise CannotBuild unless a file or folder belongs to this user or to root, and nobody else may write to it."""
    status = path.stat()
    if status.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(status.st_mode) & 0o022:
        raise CannotBuild(
            f"{path} belongs to another user or can be written by others; remove it, or set CSGNN_CACHE to a folder of "
            "your own"
        )


def _sound(path: Path, mark: str) -> bool:
    """Whether a library is there and ends with the hash of its content."""
    if not path.is_file():
        return False
    assert_ours(path.parent)
    assert_ours(path)
    content = path.read_bytes()
    size = _DIGEST().digest_size
    return len(content) > size and content[-size:] == _hash(content[:-size], mark)


def _hash(content: bytes, mark: str) -> bytes:
    return _DIGEST(mark.encode() + content).digest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        deadline = time.monotonic() + TIME_LIMIT
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CannotBuild(f"another process has held {path} for {TIME_LIMIT:g} s") from None
                time.sleep(0.05)
            except OSError:  # a file system without locks: libraries appear as a whole there too
                break
        yield


def _compile(compiler: list[str], targets: dict[str, Path], mark: str) -> None:
    """Compile units to where they belong, all or none."""
    LOGGER.warning(
        "compiling the kernels for %s, once for this processor (some seconds), in %s",
        " and ".join(unit.replace("_", " in ") for unit in targets),
        folder(),
    )
    remove_leftovers(folder())  # of a process that was killed: whoever has the lock writes alone
    with contextlib.ExitStack() as stack:
        made = {unit: stack.enter_context(atomic_write(path, MODE)) for unit, path in targets.items()}
        _run([[*compiler, *FLAGS, str(SOURCES / f"{unit}.cpp"), "-o", str(path)] for unit, path in made.items()])
        for path in made.values():
            content = path.read_bytes()
            path.write_bytes(content + _hash(content, mark))


def _run(commands: Sequence[Sequence[str]]) -> None:
    """Run commands side by side, each with all that it starts in a group of its own, which ends with this."""
    deadline, started = time.monotonic() + TIME_LIMIT, list[subprocess.Popen[str]]()
    none = subprocess.DEVNULL
    try:
        for command in commands:
            started.append(
                subprocess.Popen(
                    command, stdin=none, stdout=none, stderr=subprocess.PIPE, text=True, start_new_session=True
                )
            )
        for process in started:
            _, message = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
            if process.returncode != 0:
                reason = (message.strip().splitlines() or ["no message"])[0]
                raise CannotBuild(f"{commands[0][0]} could not compile them ({reason})")
    except subprocess.TimeoutExpired:
        raise CannotBuild(f"{commands[0][0]} took longer than {TIME_LIMIT:g} s") from None
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stderr is not None:
                process.stderr.close()
