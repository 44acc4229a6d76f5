"""The parts in the order of their importance, and how long they may take."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.gpu.checks import check_determinism, check_layers, check_mapping, check_model, check_rotations
from benchmarks.gpu.floor import floor
from benchmarks.gpu.operations import operations
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.speed import heaviest, pieces, speed, spheres
from benchmarks.machine import describe

DRIVER = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "ecc.mode.current")


@dataclasses.dataclass(frozen=True)
class Part:
    """Something to check or to time.

    Attributes
    ----------
    name
        Its name in the results.
    run
        Takes the setting and returns plain values.
    least, most
        Seconds that must be left for it to begin, and after which it is ended.
    """

    name: str
    run: Callable[[Setting], dict[str, Any]]
    least: float
    most: float


def machine(setting: Setting) -> dict[str, Any]:
    """Describe the machine, and the GPU as far as torch tells."""
    found = describe(None, []) | {"command": "python -m benchmarks.gpu"}
    if not setting.cuda:
        return found
    properties = torch.cuda.get_device_properties(0)
    gpu: dict[str, Any] = {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "count": torch.cuda.device_count(),
    }
    try:
        gpu["triton"] = version("triton")
    except PackageNotFoundError:
        gpu["triton"] = "missing"
    return found | {"gpu": gpu | _asked_of_the_driver()}


def _asked_of_the_driver() -> dict[str, str]:
    """Return the driver's version and the clocks, in MHz, if its tool is at hand."""
    command = ["nvidia-smi", f"--query-gpu={','.join(DRIVER)}", "--format=csv,noheader", "--id=0"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {"driver_version": f"unknown ({type(error).__name__})"}
    return dict(zip(DRIVER, (value.strip() for value in answer.split(",")), strict=False))


PARTS = (
    Part("machine", machine, 0, 60),
    Part("check layers", check_layers, 10, 90),
    Part("check mapping", check_mapping, 5, 60),
    Part("check model", check_model, 15, 120),
    Part("speed, bf16", partial(speed, precision="bf16", variants=("eager",)), 10, 60),
    Part("speed, bf16, graph", partial(speed, precision="bf16", variants=("graph",)), 10, 60),
    Part("pieces", pieces, 10, 60),
    Part("floor", floor, 10, 60),
    Part("check rotations", check_rotations, 10, 60),
    Part("check determinism", check_determinism, 10, 60),
    Part("speed, float32", partial(speed, precision="float32", variants=("eager",)), 10, 60),
    Part("speed, tf32", partial(speed, precision="tf32", variants=("eager",)), 10, 60),
    Part("profile", heaviest, 10, 60),
    Part("speed, bf16, compiled", partial(speed, precision="bf16", variants=("compiled", "compiled, graph")), 40, 180),
    Part("spheres", spheres, 30, 120),
    Part("operations", operations, 30, 90),
    Part("speed, float32, graph", partial(speed, precision="float32", variants=("graph",)), 10, 60),
    Part("speed, bf16, reduce-overhead", partial(speed, precision="bf16", variants=("reduce-overhead",)), 40, 150),
    Part("speed, tf32, compiled", partial(speed, precision="tf32", variants=("compiled", "compiled, graph")), 40, 150),
    Part("speed, float32, compiled", partial(speed, precision="float32", variants=("compiled",)), 40, 150),
)
