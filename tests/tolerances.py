"""How close two numbers must be, and why; every test takes its tolerances from here."""

from typing import Any

import pytest
import torch

Tolerance = dict[str, Any]

# Two ways of computing the same thing, such as a kernel and its reference: roundings of long sums, by dtype.
TOLERANCE: dict[torch.dtype, Tolerance] = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-11},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 5e-2, "atol": 5e-2},
}
# The same arithmetic in float64 in another order: the roundings of a few operations and nothing else.
EXACT: Tolerance = {"rtol": 1e-14, "atol": 1e-14}
# The same for numbers that were rounded to float32 on their way.
ROUNDED: Tolerance = {"rtol": 1e-6, "atol": 1e-6}
# Sums against integrals and derivatives against finite differences: the error of the method, far above roundings.
NUMERIC: Tolerance = {"rtol": 1e-5, "atol": 1e-6}
# Derivatives against finite differences of torch or ase, whose own error is of this size.
GRADCHECK: Tolerance = {"rtol": 1e-3, "atol": 1e-5}
# Numbers that went through float16 on their way, or were found by a search that stops early.
COARSE: Tolerance = {"rtol": 2e-2, "atol": 1e-3}

# Weights and losses after steps of an optimiser, which magnifies the roundings of small gradients.
TRAINED: dict[torch.dtype, Tolerance] = {
    torch.float64: {"rtol": 1e-8, "atol": 1e-9},
    torch.float32: {"rtol": 1e-2, "atol": 1e-3},
}

# A test of a distribution refuses draws that are less likely than this; seeds are fixed.
P_VALUE = 1e-3


def printed(decimals: int) -> Tolerance:
    """Half a unit of the last decimal of a number that was written with so many, and a little for binary fractions."""
    return {"rtol": 0.0, "atol": 0.501 * 10.0**-decimals}


def drawn(deviation: float, count: int) -> Tolerance:
    """Five standard errors of the mean of so many random draws with this standard deviation; seeds are fixed."""
    return {"rtol": 0.0, "atol": 5 * deviation / count**0.5}


def relative(tolerance: Tolerance) -> Tolerance:
    """Keep the relative part alone: for numbers far from 1."""
    return {**tolerance, "atol": 0.0}


def times(tolerance: Tolerance, factor: float) -> Tolerance:
    """Widen a tolerance by as much as the numbers that were rounded are larger than their difference."""
    return {key: factor * value for key, value in tolerance.items()}


def approx(expected: Any, rtol: float, atol: float) -> Any:
    """Compare with ``==`` within a tolerance of this table."""
    return pytest.approx(expected, rel=rtol, abs=atol)


def assert_same_up_to_scale(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Compare two tensors relative to the largest number in them, as gradients are, whose sums cancel."""
    scale = float(wanted.abs().max()) or 1.0
    torch.testing.assert_close(found / scale, wanted / scale, **TOLERANCE[wanted.dtype])
