"""Peak memory and time of a training step in the modes that save memory: ``python -m benchmarks.memory_modes``.

Each mode runs in a process of its own, twice: with the C library's own treatment of freed memory, and keeping large
blocks as the pipelines do. A step is that of a whole batch: mapping, forward, backward, Adam.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.memory import peak
from benchmarks.tables import table
from csgnn_dgl.allocator import keep_large_blocks
from csgnn_dgl.models import CSGNN

STEPS = 2
"""The first makes the optimiser's moments; the second needs them and is timed."""


@dataclasses.dataclass(frozen=True)
class Mode:
    """A way to train on a batch: in how many parts, and whether levels are computed a second time."""

    parts: int
    recompute: bool
    bf16: bool = False


MODES = {
    "plain": Mode(1, recompute=False),
    "recompute": Mode(1, recompute=True),
    "accumulate 4": Mode(4, recompute=False),
    "accumulate 4, recompute": Mode(4, recompute=True),
    "bf16": Mode(1, recompute=False, bf16=True),
    "bf16, recompute": Mode(1, recompute=True, bf16=True),
}


def measure(mode: Mode, network: dict[str, int], batch: int) -> dict[str, float]:
    """Train for `STEPS` steps in this process; return peak memory in bytes and the seconds of the last step."""
    torch.manual_seed(0)
    model = CSGNN(**network, recompute=mode.recompute)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters())
    points = torch.randn(batch, model.num_points, 3)
    labels = torch.arange(batch) % model.config["num_classes"]
    before, seconds = peak(), 0.0
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        for some, wanted in zip(points.chunk(mode.parts), labels.chunk(mode.parts), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=mode.bf16):
                logits = model(some)
            (nn.functional.cross_entropy(logits.float(), wanted) / mode.parts).backward()
        optimizer.step()
        seconds = time.perf_counter() - start
    return {"peak": peak(), "before": before, "seconds": seconds}


def measure_apart(name: str, keep: bool, options: argparse.Namespace) -> dict[str, float]:
    """Measure a mode in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory_modes", "--only", name, "--batch", str(options.batch)]
    for option in ("level", "num-spheres", "channels", "base-width"):
        command += [f"--{option}", str(getattr(options, option.replace("-", "_")))]
    command += ["--keep-blocks"] if keep else []
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise SystemExit(f"error: the process of mode {name} ended with code {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure the modes and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory_modes", description=__doc__)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE", help=", ".join(MODES))
    parser.add_argument("--level", type=int, default=4)
    parser.add_argument("--num-spheres", type=int, default=32)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--base-width", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32, help="Clouds per step, in all parts together.")
    parser.add_argument("--only", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--keep-blocks", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        if options.keep_blocks:
            keep_large_blocks()
        names = ("level", "num_spheres", "channels", "base_width")
        network = {name: int(getattr(options, name)) for name in names}
        print(json.dumps(measure(MODES[options.only], network, options.batch)))
        return
    rows: list[list[str]] = []
    for name in options.modes:
        found: list[dict[str, Any]] = [measure_apart(name, keep, options) for keep in (False, True)]
        rows.append(
            [name, *(f"{each['peak'] / 1e9:.2f}" for each in found), *(f"{each['seconds']:.1f}" for each in found)]
        )
        print(f"{name}: {rows[-1][1:]}", file=sys.stderr, flush=True)
    print(table(("mode", "peak, GB", "keeping blocks: peak, GB", "step, s", "keeping blocks: step, s"), rows))


if __name__ == "__main__":
    main()
