"""All programs under one name: ``csgnn modelnet fit ...`` is ``python -m pipelines.modelnet fit ...``."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from csgnn_dgl.errors import InputError
from pipelines.terminal import guarded, say


def programs() -> dict[str, str]:
    """Return what each program does, by its name: the modules of this package that have a ``main``."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        if any(isinstance(item, ast.FunctionDef) and item.name == "main" for item in module.body):
            found[file.stem.replace("_", "-")] = (ast.get_docstring(module) or "").split("\n")[0]
    return found


def run(words: Sequence[str], program: str) -> int:
    """Start the program that is named first."""
    known = programs()
    if not words or words[0] in ("-h", "--help"):
        lines = [f"  {name:<15}{text}" for name, text in known.items()]
        say(
            "\n".join(
                [f"usage: {program} PROGRAM ...", "", "programs:", *lines, "", f"{program} PROGRAM --help says more"]
            )
        )
        return 0
    name, *rest = words
    if name not in known:
        raise InputError(f"{name!r} is no program; give one of {', '.join(known)}")
    try:
        module = importlib.import_module(f"pipelines.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "benchmarks":
            raise
        raise InputError(
            f"{program} {name} needs the folder benchmarks, which comes with the repository only"
        ) from error
    return module.main(rest) if name == "benchmark" else module.main(rest, f"{program} {name}")


def main(arguments: Sequence[str] | None = None, program: str = "csgnn") -> int:
    """Run the program and return its exit code."""
    return guarded(lambda: run(sys.argv[1:] if arguments is None else arguments, program))


if __name__ == "__main__":
    sys.exit(main(program="python -m pipelines"))
