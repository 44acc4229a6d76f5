"""No test brings a tolerance of its own: all of them are in `tests/tolerances.py`, with their reasons."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NAMES = {"rtol", "atol", "rel", "abs"}
# what compares within a tolerance of its own unless it is given one
COMPARISONS = {"approx", "assert_close", "assert_allclose", "allclose", "isclose", "gradcheck", "gradgradcheck"}


def numbers(node: ast.AST) -> list[float]:
    """Return the numbers that are not zero in an expression of numbers alone, and none of any other."""
    parts = list(ast.walk(node))
    if not all(isinstance(part, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop) for part in parts):
        return []
    values = [part.value for part in parts if isinstance(part, ast.Constant)]
    return [value for value in values if isinstance(value, int | float) and value]


def own_tolerances(code: str) -> Iterator[tuple[int, str]]:
    """Find the lines of a module that compare within another tolerance than one of the table."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if any(key in NAMES and numbers(value) for key, value in given.items()):
                yield node.lineno, "gives a number as tolerance"
            elif name in COMPARISONS and not NAMES & given.keys() and None not in given:
                yield node.lineno, f"leaves the tolerance to {name}"
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            if any(isinstance(key, ast.Constant) and key.value in NAMES and numbers(value) for key, value in pairs):
                yield node.lineno, "makes a tolerance of a number"
        elif isinstance(node, ast.Compare):
            measured = {getattr(part, "attr", getattr(part, "id", "")) for part in ast.walk(node.left)}
            below = isinstance(node.ops[0], ast.Lt | ast.LtE)
            if "abs" in measured and below and min(numbers(node.comparators[0]), default=1) < 1e-2:
                yield node.lineno, "compares a difference with a number"


@pytest.mark.parametrize(
    "line",
    [
        "assert found == approx(wanted, rel=1e-4)",
        "np.testing.assert_allclose(found, wanted, atol=2 * 1e-9)",
        "torch.testing.assert_close(found, wanted)",
        "assert abs(found - wanted) < 1e-6",
        "assert (found - wanted).abs().max() <= 1e-6",
        "close = {'rtol': 1e-3, 'atol': 0}",
    ],
)
def test_a_tolerance_of_ones_own_is_found(line: str) -> None:
    assert [number for number, _ in own_tolerances(f"import math\n{line}\n")] == [2]


def test_tolerances_of_the_table_pass() -> None:
    lines = (
        "assert found == approx(wanted, **EXACT)",
        "torch.testing.assert_close(found, wanted, **TOLERANCE[dtype])",
        "np.testing.assert_allclose(found, wanted, rtol=0, atol=EXACT['atol'] * size)",
        "assert abs(found - wanted) < TOLERANCE[dtype]['atol']",
        "assert abs(found - wanted) > 1e-3",
    )
    assert not list(own_tolerances("\n".join(lines)))


def test_every_tolerance_is_taken_from_the_table() -> None:
    paths = [path for path in FOLDER.rglob("*.py") if path.name != "tolerances.py"]
    found = {str(path.relative_to(FOLDER)): list(own_tolerances(path.read_text())) for path in paths}
    assert not {name: lines for name, lines in found.items() if lines}, "take tolerances of tests/tolerances.py"
