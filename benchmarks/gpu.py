"""Check and time everything on one GPU, in one call of less than ten minutes: ``python -m benchmarks.gpu``.

It needs torch, NumPy, pytest and this repository, and no dgl. First the tests of ``tests/nn`` run on the device, then
the entries of the other benchmarks. Results are kept after each part; a part that fails or for which there is no time
left costs no other. ``--device cpu --tiny`` tries it out without a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import mapping, report, suite
from benchmarks.contenders import MODES
from benchmarks.harness import ROOT, Entry, Session, child_environment, measure, missing_text
from benchmarks.machine import describe
from benchmarks.sizes import SIZES, Size
from csgnn_dgl.files import atomic_write
from csgnn_dgl.training.report import markdown_table

EPOCH = 9840
"""Shapes of the ModelNet40 training split."""
GOALS = "goals: an epoch of 9,840 shapes in 8, then 3 seconds; a batch of 32 in 3 milliseconds at inference"
CONTENDERS = ("auto", "auto-bf16", "inductor", "inductor-bf16", "inductor-graphs", "composition-torch")
STEPS: dict[str, dict[str, Any]] = {
    "auto": {},
    "auto-bf16": {"bf16": True},
    "inductor-bf16": {"bf16": True, "compile_mode": "default"},
}
PIECES = ("auto-bf16", "inductor-bf16")
TESTS_SHARE = 0.4
"""Share of the time that the tests may take."""


def tests(session: Session, size: Size, device: str, tiny: bool) -> dict[str, Any]:
    """Run the tests of the layers on the device."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--device", device, "tests/nn"]
    command += ["-k", "radial_conv and not compiled"] if tiny else []
    left = TESTS_SHARE * (session.deadline - time.time())
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, timeout=left, check=False
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    session.tell("\n".join([*failed, lines[-1]]))
    if done.returncode:
        raise RuntimeError(f"pytest ended with code {done.returncode}: {lines[-1]}")
    return {"summary": lines[-1]}


def from_clouds(session: Session, size: Size, device: str, tiny: bool) -> dict[str, Any]:
    """Time whole steps from clouds in the memory of the host, as it is, in bfloat16 and through torch.compile."""
    entries = [
        Entry(name, mapping.build_steps, {"size": size, "device": device, **options}, MODES, optional=True)
        for name, options in STEPS.items()
    ]
    measured = measure(entries, 1 if tiny else 5, session, "from clouds")
    head = ("contender", "training, ms per batch", "s per epoch of 9,840", "inference, ms per batch")
    rows = []
    for name, found in measured.times.items():
        step, answer = found["training"]["median"], found["inference"]["median"]
        epoch = report.number(step * EPOCH / size.batch)
        rows.append([name, report.number(1e3 * step), epoch, report.number(1e3 * answer)])
    session.tell(f"{markdown_table(head, rows)}\n\n{missing_text(measured.missing)}\n{GOALS}")
    return {"seconds": measured.times, "missing": measured.missing}


def speed(session: Session, size: Size, device: str, tiny: bool) -> dict[str, Any]:
    """Time the layers of the whole model beside the composition and the roofline."""
    result = suite.measure_speed(session, size, CONTENDERS, MODES, 1 if tiny else 5, device, "speed", True)
    session.tell(f"{report.speed_table(result)}\n\n{missing_text(result['missing'])}")
    return result


def memory(session: Session, size: Size, device: str, tiny: bool) -> dict[str, Any]:
    """Measure the peak memory of training."""
    name = "tiny" if tiny else "paper"
    contenders = ("auto", "auto-bf16", "composition-torch")
    return suite.memory(session, [name], contenders, size.batch, device).results


def spheres(session: Session, size: Size, device: str, tiny: bool) -> dict[str, Any]:
    """Time over numbers of spheres, as in Table 4 of the paper."""
    counts = (1, 2) if tiny else (1, 8, 16, 24, 32)
    some = [dataclasses.replace(size, num_spheres=count) for count in counts]
    rows = suite.measure_growth(session, some, "auto-bf16", 1 if tiny else 3, device, "spheres")
    session.tell(report.growth_table(rows, "num_spheres"))
    return {"rows": rows}


def layers(session: Session, size: Size, device: str, tiny: bool) -> dict[str, Any]:
    """Time layer by layer."""
    name = "tiny" if tiny else "paper"
    return suite.layers(session, [name], PIECES, 1 if tiny else 3, size.batch, device).results


PARTS: dict[str, Callable[[Session, Size, str, bool], dict[str, Any]]] = {
    "tests": tests,
    "from clouds": from_clouds,
    "speed": speed,
    "memory": memory,
    "spheres": spheres,
    "layers": layers,
}


def gpu_of(device: str) -> dict[str, Any]:
    """Describe the GPU as far as torch tells."""
    if device == "cpu":
        return {}
    found = torch.cuda.get_device_properties(0)
    memory_gb = round(found.total_memory / 1e9, 1)
    return {"gpu": {"name": found.name, "memory_gb": memory_gb, "cuda": torch.version.cuda}}


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
        print(
            "error: torch sees no CUDA GPU; install a CUDA build of torch, or try --device cpu --tiny", file=sys.stderr
        )
        return 2
    size = SIZES["tiny"] if options.tiny else dataclasses.replace(SIZES["paper"], batch=32)
    machine = describe(None, "python -m benchmarks.gpu") | gpu_of(options.device)
    document: dict[str, Any] = {"machine": machine, "parts": {}}
    text = [f"{size}, on {machine.get('gpu', {}).get('name', 'the CPU')}"]

    def tell(some: str) -> None:
        text.append(some)
        print(some, flush=True)

    session = Session(tell=tell, deadline=time.time() + 60 * options.minutes)
    for name in options.parts:
        start = time.time()
        tell(f"\n## {name}\n")
        try:
            result = PARTS[name](session, size, options.device, options.tiny)
            document["parts"][name] = {"status": "done", "result": result}
        except (RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
            document["parts"][name] = {"status": "failed", "note": str(error)}
            tell(f"{name} failed: {error}")
        document["parts"][name]["seconds"] = time.time() - start
        with atomic_write(options.output / "results.json") as file:
            file.write_text(json.dumps(document, indent=1), encoding="utf-8")
        with atomic_write(options.output / "summary.md") as file:
            file.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"results in {options.output}")
    return int(any(part["status"] == "failed" for part in document["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
