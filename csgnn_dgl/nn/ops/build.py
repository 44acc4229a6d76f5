"""Compiling the kernels for the processor at hand, once per machine."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from csgnn_dgl.files import atomic_write

SOURCE = Path(__file__).with_name("cpp") / "concentric.cpp"
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-Wno-unknown-pragmas")


def compiled_library() -> Path | None:
    """Return the compiled kernels, compiling them if this machine has not done so yet (some seconds).

    The compiler is ``$CXX`` or ``g++``. The library is kept in ``$XDG_CACHE_HOME/csgnn_dgl`` (``~/.cache/csgnn_dgl``)
    under a name made from the source, the flags, the compiler and the processor; where that folder cannot be written,
    in a new temporary folder of this process.

    Returns
    -------
    Path or None
        None where there is no compiler, or it fails (with a warning): the layers then run on torch alone.
    """
    compiler = _compiler()
    if compiler is None:
        return None
    name = f"concentric-{_fingerprint(compiler)}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csgnn_dgl"
    if (folder / name).is_file():
        return folder / name
    try:
        return _compile(compiler, folder / name)
    except OSError:
        return _compile(compiler, Path(tempfile.mkdtemp(prefix="csgnn_dgl-")) / name)


def _compiler() -> list[str] | None:
    command = shlex.split(os.environ.get("CXX") or "g++")
    return command if sys.platform.startswith("linux") and shutil.which(command[0]) else None


def _fingerprint(compiler: list[str]) -> str:
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    processor = sorted({line for line in lines if line.startswith(("model", "flags", "Features", "CPU part"))})
    parts = [SOURCE.read_bytes(), version, " ".join([*compiler, *FLAGS, *processor]).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _compile(compiler: list[str], target: Path) -> Path | None:
    try:
        with atomic_write(target) as temporary:
            command = [*compiler, *FLAGS, str(SOURCE), "-o", str(temporary)]
            subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no message"])[0]
        warnings.warn(
            f"{compiler[0]} could not compile the kernels ({reason}); the layers run on torch alone, which is slower. "
            "CSGNN_KERNELS=off leaves them out without a warning",
            stacklevel=2,
        )
        return None
    return target
