"""What the numbers were measured on."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import csgnn_dgl

PACKAGES = ("torch", "dgl", "numpy", "triton")


def describe(threads: int | None, command: str) -> dict[str, Any]:
    """Describe the machine, the versions and the command as plain values.

    Parameters
    ----------
    threads
        Threads that were asked for; None for torch's own choice.
    command
        What was called.
    """
    return {
        "processor": _processor()[0],
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": bf16_instructions(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"csgnn_dgl": csgnn_dgl.__version__, **_versions()},
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def bf16_instructions() -> bool:
    """Return whether the processor multiplies bfloat16 itself, as far as the system tells."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & _processor()[1])


def _processor() -> tuple[str, set[str]]:
    """Return the name and the feature flags of the processor, as far as the system tells them."""
    name, flags = platform.processor() or platform.machine(), set[str]()
    if sys.platform.startswith("linux"):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags |= set(value.split())
    return name, flags


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
