"""What surrounds the layers: mapping, loading, and start-up."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from typing import Any

import torch

import csgnn_dgl._dgl
from benchmarks.contenders import draw_clouds
from benchmarks.harness import ROOT, Built
from benchmarks.sizes import Size
from csgnn_dgl.mapping import MAPPINGS

BATCHES = 10
"""Batches that are fetched in a row."""


def build_mapping(kind: str, size: Size) -> Built:
    """Build a mapping, on one thread."""
    torch.set_num_threads(1)
    mapping, clouds = MAPPINGS[kind](size.level, size.num_spheres, size.channels), draw_clouds(size.batch)
    return Built({"mapping": lambda: mapping(clouds)})


def build_loading(batch: int) -> Built:
    """Build the data module; it prepares batches in the process itself, which is the slowest way."""
    from csgnn_dgl.tasks.classification import ModelNetData  # the rest of this module needs no Lightning

    data = ModelNetData(source="builtin", num_points=1024, batch_size=batch)
    data.setup("fit")
    loader: Any = data.train_dataloader()
    if len(loader) < BATCHES:
        loader = list(loader) * BATCHES
    return Built({"fetch": lambda: sum(1 for _ in itertools.islice(loader, BATCHES))})


def child_environment() -> dict[str, str]:
    """Return an environment in which a child finds this package wherever it is started."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


_START = f"""
import importlib.util, json, time
import torch
spec = importlib.util.spec_from_file_location("dgl_alone", {csgnn_dgl._dgl.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.load_dgl()
seconds, clock = {{}}, [time.perf_counter()]
def took(name):
    seconds[name] = time.perf_counter() - clock[0]
    clock[0] = time.perf_counter()
import csgnn_dgl
took("import csgnn_dgl")
csgnn_dgl.CSGNN
took("first use of CSGNN")
csgnn_dgl.ConcentricGrid(1, 2).graph(1)
clock[0] = time.perf_counter()
grid = csgnn_dgl.ConcentricGrid(5, 32)
took("ConcentricGrid")
grid.graph(5)
took("heterograph of the finest level")
print(json.dumps(seconds))
"""


def time_startup() -> dict[str, float]:
    """Return the seconds of the import beyond torch's and dgl's, and of the largest grid, in a fresh process."""
    command = [sys.executable, "-c", _START]
    done = subprocess.run(command, env=child_environment(), check=True, stdout=subprocess.PIPE, text=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds
