"""A process that builds things and times them when it is told to: ``python -m benchmarks.worker``.

Commands and replies are lines of JSON on stdin and stdout:

- ``{"make": "module:function", "as": name, "options": {...}}`` calls a function of this package that returns facts,
  which are the reply, and actions, which are kept;
- ``{"run": name, "action": action, "least": seconds}`` runs an action until that time is over and replies with the
  seconds of one run, or with what the action itself measured.

The allocator's settings belong to a whole process, and so does the peak of its memory: hence processes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from csgnn_dgl.allocator import keep_large_blocks

Action = Callable[[], "dict[str, float] | None"]


def serve(lines: Any, reply: Callable[[dict[str, Any]], None]) -> None:
    """Carry out commands until there are no more; an exception becomes the reply ``{"error": ..., "kind": ...}``."""
    actions: dict[str, dict[str, Action]] = {}
    for line in lines:
        command = json.loads(line)
        try:
            if "make" in command:
                module, _, function = command["make"].partition(":")
                make = getattr(importlib.import_module(f"benchmarks.{module}"), function)
                facts, actions[command["as"]] = make(**command["options"])
                reply(facts)
            else:
                reply(run(actions[command["run"]][command["action"]], command["least"]))
        except Exception as error:
            reply({"error": str(error), "kind": type(error).__name__})


def run(action: Action, least: float) -> dict[str, Any]:
    """Run an action as often as fits into `least` seconds, once at least, and return the seconds of one run."""
    start, count = time.perf_counter(), 0
    while True:
        measured = action()
        count += 1
        elapsed = time.perf_counter() - start
        if measured is not None:
            return {"measured": measured}
        if elapsed >= least:
            return {"seconds": elapsed / count}


def main() -> None:
    """Serve stdin; what libraries print goes to stderr."""
    parser = argparse.ArgumentParser(description="Serves the benchmarks; started by them.")
    parser.add_argument("--keep-blocks", action="store_true", help="Keep large blocks of memory, as the programs do.")
    parser.add_argument("--threads", type=int, help="Threads of torch.")
    chosen = parser.parse_args()
    if chosen.keep_blocks:
        keep_large_blocks()
    if chosen.threads is not None:
        import torch

        torch.set_num_threads(chosen.threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the program that started this one, and that ends this
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(content: dict[str, Any]) -> None:
        channel.write(json.dumps(content) + "\n")
        channel.flush()

    serve(sys.stdin, reply)


if __name__ == "__main__":
    main()
