"""What all parts are told: the device, the sizes, and the precisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from benchmarks.sizes import SIZES, Size

Precision = Literal["float64", "float32", "tf32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
EPOCH = 9840
"""Shapes of the ModelNet40 training split."""


class SkippedError(Exception):
    """A part does not apply here; says why."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and at which sizes everything runs.

    Attributes
    ----------
    device
        ``"cuda"`` or ``"cpu"``.
    tiny
        Whether to take the smallest sizes, to try the program out.
    output
        Folder of the results.
    """

    device: str
    tiny: bool
    output: Path

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device == "cuda"

    @property
    def size(self) -> Size:
        """The model and batch that are timed: the paper's."""
        return SIZES["tiny"] if self.tiny else dataclasses.replace(SIZES["paper"], batch=32)

    @property
    def check_size(self) -> Size:
        """A smaller model, for comparisons with the CPU."""
        return SIZES["tiny"] if self.tiny else dataclasses.replace(SIZES["small"], batch=4)

    @property
    def num_points(self) -> int:
        """Points per cloud."""
        return 64 if self.tiny else 1024

    def need_cuda(self, what: str) -> None:
        """Raise `SkippedError` without a GPU."""
        if not self.cuda:
            raise SkippedError(f"{what} needs a GPU")

    def values(self) -> dict[str, Any]:
        """Return the setting as plain values, which `Setting.of` reads."""
        return {"device": self.device, "tiny": self.tiny, "output": str(self.output)}

    @classmethod
    def of(cls, values: dict[str, Any]) -> Setting:
        """Read what `values` returned."""
        return cls(values["device"], values["tiny"], Path(values["output"]))


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Compute float32 matrix products in TF32 or in full, as `precision` says."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast(precision: Precision, device: str) -> torch.autocast:
    """Return the autocast of a precision; without a cache of casts, which a captured graph would read after its end."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the dtype of the weights."""
    return torch.float64 if precision == "float64" else torch.float32
