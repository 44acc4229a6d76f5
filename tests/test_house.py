"""The rooms of docs/architecture.md: imports point down the house, and nothing below pipelines prints."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "csgnn_dgl"
ROOMS = ("tasks", "training", "data", "models", "nn", "mapping", "electronic", "viz", "graphs", "geometry")
"""From the top down: a room may import from those behind it."""

TYPES_ONLY = {("models", "data")}
"""Models are told of snapshots by type checkers alone."""


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [item.name for item in node.names] if isinstance(node, ast.Import) else []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_rooms_below_it(room):
    allowed = {*ROOMS[ROOMS.index(room) :], "symmetry", "testing"}
    for file in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            for name in imported(node):
                other = name.split(".")[1] if name.startswith("csgnn_dgl.") else room
                fine = other in allowed or other not in ROOMS or (room, other) in TYPES_ONLY
                assert fine and name.split(".")[0] not in ("pipelines", "benchmarks", "tests"), f"{file} imports {name}"


def test_nothing_in_the_package_prints():
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), f"{file} prints in line {called.lineno}"
