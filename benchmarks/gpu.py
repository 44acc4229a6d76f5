"""Check and time everything on one GPU, in one call of less than ten minutes: ``python -m benchmarks.gpu``.

It needs torch, NumPy, pytest and this repository, and no dgl. First the tests of ``tests/nn`` run on the device, then
the entries of the other benchmarks. Results are kept after each part; a part that fails or for which there is no time
left costs no other. ``--device cpu --tiny`` tries it out without a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import report, suite
from benchmarks.contenders import entry_of
from benchmarks.harness import ROOT, Session, describe, measure, missing_text
from benchmarks.sizes import SIZES, Size
from benchmarks.surroundings import child_environment
from csgnn_dgl.files import atomic_write

CONTENDERS = ("auto", "auto-bf16", "inductor", "inductor-bf16", "inductor-graphs", "composition-torch")
FROM_CLOUDS = ("auto", "auto-bf16", "inductor-bf16")
PIECES = ("auto-bf16", "inductor-bf16")
GOALS = "goals: an epoch of 9,840 shapes in 8, then 3 seconds; a batch of 32 in 3 milliseconds at inference"


def tests(session: Session, name: str, size: Size, device: str) -> dict[str, Any]:
    """Run the tests of the layers on the device, in less than four minutes."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", device, "tests/nn"]
    command += ["-k", "radial_conv and not compiled"] if name == "tiny" else []
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=220)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing"]
    session.tell("\n".join([*(line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1]]))
    if done.returncode:
        raise RuntimeError(f"pytest ended with code {done.returncode}: {lines[-1]}")
    return {"summary": lines[-1]}


def from_clouds(session: Session, name: str, size: Size, device: str) -> dict[str, Any]:
    """Time whole steps from clouds in the memory of the host, as it is, in bfloat16 and through torch.compile."""
    entries = [entry_of(one, size, compared=False, device=device, clouds=True) for one in FROM_CLOUDS]
    measured = measure(entries, 1 if name == "tiny" else 5, session, "from clouds")
    head, rows = ("contender", "training, ms per batch", "s per epoch of 9,840", "inference, ms per batch"), []
    for one, found in measured.times.items():
        step, answer = found["training"]["median"], found["inference"]["median"]
        rows.append([one, 1e3 * step, step * 9840 / size.batch, 1e3 * answer])
    session.tell(f"{report.table(head, rows)}\n\n{missing_text(measured.missing)}\n{GOALS}")
    return measured._asdict()


def timings(
    command: Callable[..., suite.Outcome], repeats: int | None, **options: Any
) -> Callable[..., dict[str, Any]]:
    """Return the part that is a command of the suite."""

    def part(session: Session, name: str, size: Size, device: str) -> dict[str, Any]:
        rounds = {} if repeats is None else {"repeats": 1 if name == "tiny" else repeats}
        place: dict[str, Any] = {"sizes": [name]}
        if command is suite.table4:
            place = {"size": name} | ({"counts": (1, 2), "levels": (1, 2)} if name == "tiny" else {"levels": (3, 4)})
        return command(session, **place, **options, **rounds, batch=size.batch, device=device).results

    return part


PARTS: dict[str, Callable[[Session, str, Size, str], dict[str, Any]]] = {
    "tests": tests,
    "from clouds": from_clouds,
    "speed": timings(suite.speed, 5, contenders=CONTENDERS),
    "memory": timings(suite.memory, None, contenders=("auto", "auto-bf16", "composition-torch")),
    "spheres": timings(suite.table4, 3, contender="auto-bf16"),
    "layers": timings(suite.layers, 3, contenders=PIECES),
}


def over(number: int, frame: object) -> None:
    """End what is running when the time is over."""
    raise TimeoutError("the time was over")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0, 1 if a part failed, or 2 if it could not begin."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder of the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to run")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes, to try the program out")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to run")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        hint = "install a CUDA build of torch, or try --device cpu --tiny"
        print(f"error: torch sees no CUDA GPU; {hint}", file=sys.stderr)
        return 2
    name = "tiny" if options.tiny else "paper"
    size = SIZES[name] if options.tiny else dataclasses.replace(SIZES[name], batch=32)
    machine = describe("python -m benchmarks.gpu")
    if options.device == "cuda":
        found = torch.cuda.get_device_properties(0)
        memory_gb = round(found.total_memory / 1e9, 1)
        machine["gpu"] = {"name": found.name, "memory_gb": memory_gb, "cuda": torch.version.cuda}
    parts: dict[str, Any] = {}
    text = [f"{size}, on {machine.get('gpu', {}).get('name', 'the CPU')}"]

    def tell(some: str) -> None:
        text.append(some)
        print(some, flush=True)

    signal.signal(signal.SIGALRM, over)
    end = time.monotonic() + 60 * options.minutes
    for part in options.parts:
        start = time.monotonic()
        tell(f"\n## {part}\n")
        signal.setitimer(signal.ITIMER_REAL, max(end - start, 1e-3))
        try:
            parts[part] = {"status": "done", "result": PARTS[part](Session(tell=tell), name, size, options.device)}
        except (RuntimeError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            parts[part] = {"status": "failed", "note": str(error)}
            tell(f"{part} failed: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        parts[part]["seconds"] = time.monotonic() - start
        with atomic_write(options.output / "results.json") as file:
            file.write_text(json.dumps({"machine": machine, "parts": parts}, indent=1), encoding="utf-8")
        with atomic_write(options.output / "summary.md") as file:
            file.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"results in {options.output}")
    return int(any(part["status"] == "failed" for part in parts.values()))


if __name__ == "__main__":
    sys.exit(main())
