"""Check and time the package on one GPU, in a single call of less than ten minutes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.report import failures, summary
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.worker import load, save
from benchmarks.timing import child_environment
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write

WRONG, USER_ERROR = 1, 2
WORKER = (sys.executable, "-m", "benchmarks.gpu.worker")
POLL = 0.2
"""Seconds between two looks at the worker."""
START = 10
"""Seconds that must be left for another worker to start."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0, 1 if something failed or was out of tolerance, or 2 if it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder of the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to run")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, to try the program out")
    options = parser.parse_args(arguments)
    try:
        return run(Setting(options.device, options.tiny, options.output), 60 * options.minutes)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR


def run(setting: Setting, seconds: float) -> int:
    """Run all parts within `seconds`; write ``results.json`` and ``summary.md`` and print the summary.

    Raises
    ------
    InputError
        If there is no GPU and one is asked for.
    """
    deadline = time.time() + seconds
    if setting.cuda and not torch.cuda.is_available():
        raise InputError("torch sees no CUDA GPU; install a CUDA build of torch, or try --device cpu --tiny")
    file = setting.output / "results.json"
    document: dict[str, Any] = {"setting": setting.values(), "minutes": seconds / 60, "parts": {}}
    save(file, document)
    left = [part.name for part in PARTS]
    while left:
        if time.time() > deadline - START:
            skipped = {"status": "skipped", "note": "no time was left", "seconds": 0.0}
            save(file, document | {"parts": document["parts"] | dict.fromkeys(left, skipped)})
        else:
            _supervise(setting, deadline, left)
        document = load(file)
        left = [part.name for part in PARTS if part.name not in document["parts"]]
    text = summary(document)
    with atomic_write(setting.output / "summary.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"\n{text}\nresults in {setting.output}", flush=True)
    return WRONG if failures(document) else 0


def _supervise(setting: Setting, deadline: float, names: Sequence[str]) -> None:
    """Let a worker run parts until it has done all, has died or one of them takes too long; write down which."""
    file = setting.output / "results.json"
    given = json.dumps({"setting": setting.values(), "deadline": deadline, "parts": list(names)})
    process = subprocess.Popen([*WORKER, given], env=_environment())
    limits = {part.name: part.most for part in PARTS}
    note = None
    try:
        while process.poll() is None:
            time.sleep(POLL)
            running = _running(load(file))
            if running is None:
                continue
            name, started = running
            if time.time() > min(started + limits[name], deadline):
                note = f"ended after {time.time() - started:.0f} s"
                break
    finally:
        process.kill()
        code = process.wait()
    document = load(file)
    running = _running(document)
    if running is not None:
        name, started = running
        note = note or f"the process ended with code {code}"
        document["parts"][name] = {"status": "failed", "note": note, "seconds": time.time() - started}
        print(f"{name}: failed: {note}", flush=True)
        save(file, document)
    elif code != 0 and not set(names) & set(document["parts"]):
        # Not even the first part was begun: another worker would fare no better.
        for name in names:
            document["parts"][name] = {
                "status": "failed",
                "note": f"no process could start: code {code}",
                "seconds": 0.0,
            }
        save(file, document)


def _running(document: dict[str, Any]) -> tuple[str, float] | None:
    """Return the part that is running, and since when."""
    for name, entry in document["parts"].items():
        if entry["status"] == "running":
            return name, entry["started"]
    return None


def _environment() -> dict[str, str]:
    """Return the environment of the worker."""
    environment = child_environment()
    # Without a fixed workspace cuBLAS is not deterministic, and torch refuses to promise that it is.
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    environment.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    return environment
