"""How close two computations of the same thing must be, by dtype; every test takes its tolerances from here."""

from typing import Any

import torch

TOLERANCE: dict[torch.dtype, dict[str, Any]] = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-11},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 5e-2, "atol": 5e-2},
}


def assert_same_up_to_scale(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Compare two tensors relative to the largest number in them, as gradients are, whose sums cancel."""
    scale = float(wanted.abs().max()) or 1.0
    torch.testing.assert_close(found / scale, wanted / scale, **TOLERANCE[wanted.dtype])
