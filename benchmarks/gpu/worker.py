"""The process that runs parts one after the other and writes down what they found."""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.clock import describe, is_fatal
from benchmarks.gpu.parts import PARTS, Part
from benchmarks.gpu.setting import Setting, SkippedError
from csgnn_dgl.files import atomic_write

UNUSABLE = 3
"""Exit code: the GPU does not answer this process any more."""


def load(file: Path) -> dict[str, Any]:
    """Read the results written so far."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def save(file: Path, document: dict[str, Any]) -> None:
    """Write results."""
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def run_parts(setting: Setting, deadline: float, names: Sequence[str]) -> int:
    """Run parts by name; write ``results.json`` before and after each.

    Parameters
    ----------
    setting
        What the parts are told.
    deadline
        Time since the epoch at which all must be over: a part is left out when too little is left.
    names
        Which parts.

    Returns
    -------
    int
        0, or `UNUSABLE`.
    """
    file = setting.output / "results.json"
    document = load(file)
    for part in PARTS:
        if part.name not in names:
            continue
        entry: dict[str, Any] = {"status": "running", "started": time.time()}
        document["parts"][part.name] = entry
        save(file, document)
        fatal = _run(part, setting, deadline, entry)
        save(file, document)
        note = entry.get("note", "")
        print(f"{part.name}: {entry['status']} in {entry['seconds']:.1f} s{note and ': ' + note}", flush=True)
        if fatal:
            return UNUSABLE
        if entry["status"] != "skipped":
            _forget(setting)
    return 0


def _run(part: Part, setting: Setting, deadline: float, entry: dict[str, Any]) -> bool:
    """Run a part and fill its entry; say whether the process can do nothing more."""
    fatal = False
    start = time.perf_counter()
    left = deadline - time.time()
    try:
        if left < part.least:
            raise SkippedError(f"{left:.0f} s are left, it needs about {part.least:.0f} s")
        entry |= {"result": part.run(setting), "status": "done"}
    except SkippedError as reason:
        entry |= {"status": "skipped", "note": str(reason)}
    except Exception as error:
        fatal = is_fatal(error)
        entry |= {"status": "failed", "note": describe(error), "traceback": traceback.format_exc()[-4000:]}
    entry["seconds"] = time.perf_counter() - start
    return fatal


def _forget(setting: Setting) -> None:
    """Free what a part has left behind."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if setting.cuda:
        torch.cuda.empty_cache()


def main(arguments: Sequence[str]) -> int:
    """Read one JSON argument with ``setting``, ``deadline`` and ``parts``."""
    given = json.loads(arguments[0])
    return run_parts(Setting.of(given["setting"]), given["deadline"], given["parts"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
