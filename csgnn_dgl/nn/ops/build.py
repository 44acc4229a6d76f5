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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from csgnn_dgl.files import atomic_write, cache_folder

SOURCES = Path(__file__).with_name("cpp")
FLAGS = ("-O2", "-march=native", "-std=c++17", "-fPIC", "-fopenmp", "-Wno-unknown-pragmas")


def compiled_library() -> Path | None:
    """Return the compiled kernels, compiling them if this machine has not done so yet (some seconds).

    The compiler is ``$CXX`` or ``g++``. The library is kept in the cache folder (:func:`csgnn_dgl.files.cache_folder`)
    under a name made from the sources, the flags, the compiler and the processor; where that folder cannot be written,
    in a new temporary folder of this process.

    Returns
    -------
    Path or None
        None where there is no compiler, or it fails (with a warning): the layers then run on torch alone.
    """
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    if not sys.platform.startswith("linux") or shutil.which(compiler[0]) is None:
        return None
    library = cache_folder() / f"kernels-{_fingerprint(compiler)}.so"
    if library.is_file():
        return library
    try:
        return _compile(compiler, library)
    except OSError:
        return _compile(compiler, Path(tempfile.mkdtemp(prefix="csgnn_dgl-")) / library.name)


def _fingerprint(compiler: list[str]) -> str:
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    processor = sorted({line for line in lines if line.startswith(("model", "flags", "Features", "CPU part"))})
    sources = [part for path in sorted(SOURCES.iterdir()) for part in (path.name.encode(), path.read_bytes())]
    parts = [*sources, version, " ".join([*compiler, *FLAGS, *processor]).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _compile(compiler: list[str], target: Path) -> Path | None:
    def run(*arguments: str) -> None:
        subprocess.run([*compiler, *arguments], capture_output=True, text=True, check=True)

    try:
        with atomic_write(target) as library, tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
            sources = sorted(SOURCES.glob("*.cpp"))
            objects = [str(Path(folder, source.name).with_suffix(".o")) for source in sources]
            # One process for each type of features.
            list(pool.map(lambda source, made: run(*FLAGS, "-c", str(source), "-o", made), sources, objects))
            run("-shared", "-fopenmp", *objects, "-o", str(library))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no message"])[0]
        warnings.warn(
            f"{compiler[0]} could not compile the kernels ({reason}); the layers run on torch alone, which is slower. "
            "CSGNN_KERNELS=off leaves them out without a warning",
            stacklevel=2,
        )
        return None
    return target
