"""What importing the package and building the largest grid take, each in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import csgnn_dgl._dgl
from benchmarks.harness import Session, child_environment, summary

HEAVY = ("matplotlib", "lightning", "sklearn", "h5py", "trimesh", "scipy", "networkx", "pandas", "jsonargparse")
"""Modules that take long to import and that a model can do without."""

_IMPORT = """
import importlib.util, json, sys, time
import torch
spec = importlib.util.spec_from_file_location("dgl_alone", {loader!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.load_dgl()
there = set(sys.modules)
start = time.perf_counter()
import csgnn_dgl
middle = time.perf_counter()
csgnn_dgl.CSGNN
end = time.perf_counter()
added = [name for name in {heavy!r} if name in set(sys.modules) - there]
seconds = {{"import csgnn_dgl": middle - start, "first use of CSGNN": end - middle}}
print(json.dumps({{"seconds": seconds, "heavy": added}}))
"""

_GRID = """
import json, time
import torch
import csgnn_dgl
csgnn_dgl.ConcentricGrid(1, 2).graph(1)
start = time.perf_counter()
grid = csgnn_dgl.ConcentricGrid({level}, {num_spheres})
built = time.perf_counter()
grid.graph({level})
drawn = time.perf_counter()
for level in grid.levels:
    level.relation("cpu", self_loop=True)
for step in grid.steps.values():
    step.relation("cpu")
end = time.perf_counter()
seconds = {{"ConcentricGrid": built - start, "heterograph of the finest level": drawn - built}}
seconds |= {{"tables of all levels": end - drawn, "grid, together": end - start}}
print(json.dumps({{"seconds": seconds}}))
"""


def measure_startup(level: int, num_spheres: int, repeats: int, session: Session) -> dict[str, Any]:
    """Time import and grid in fresh processes, in turns.

    Returns
    -------
    dict
        Seconds of each part; and ``heavy``, the modules of `HEAVY` that csgnn_dgl imports beyond torch's and dgl's.
    """
    scripts = [
        _IMPORT.format(loader=csgnn_dgl._dgl.__file__, heavy=HEAVY),
        _GRID.format(level=level, num_spheres=num_spheres),
    ]
    seconds: dict[str, list[float]] = {}
    heavy: set[str] = set()
    for _ in session.progress(range(repeats), "start-up"):
        for script in scripts:
            command = [sys.executable, "-c", script]
            done = subprocess.run(command, env=child_environment(), check=True, stdout=subprocess.PIPE, text=True)
            answer = json.loads(done.stdout.splitlines()[-1])
            heavy |= set(answer.get("heavy", ()))
            for name, value in answer["seconds"].items():
                seconds.setdefault(name, []).append(value)
    return {"seconds": {name: summary(values) for name, values in seconds.items()}, "heavy": sorted(heavy)}
