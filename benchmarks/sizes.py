"""What is measured: the sizes of the models."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from csgnn_dgl.models import CSGNN, CSGNNDOS
from csgnn_dgl.nn import ConcentricBlock


@dataclasses.dataclass(frozen=True)
class Size:
    """A batch and a model: level l, R spheres, C channels, base width F; with `num_bins` a CSGNNDOS, else a CSGNN."""

    level: int
    num_spheres: int
    channels: int
    base_width: int
    batch: int
    num_classes: int = 40
    num_bins: int | None = None

    def __str__(self) -> str:
        kind = "" if self.num_bins is None else "density of states, "
        grid = f"level {self.level}, R = {self.num_spheres}, C = {self.channels}, F = {self.base_width}"
        return f"{kind}{grid}, batch {self.batch}"


SIZES = {
    "tiny": Size(level=1, num_spheres=2, channels=2, base_width=1, batch=8, num_classes=3),
    "small": Size(level=3, num_spheres=8, channels=8, base_width=2, batch=32),
    "wide": Size(level=3, num_spheres=8, channels=8, base_width=4, batch=32),
    # Inference and bfloat16 take a batch of 32 as well; training the composition takes far more memory.
    "paper": Size(level=4, num_spheres=20, channels=8, base_width=4, batch=4),
    "dos": Size(level=3, num_spheres=1, channels=32, base_width=4, batch=256, num_bins=310),
    "table4": Size(level=4, num_spheres=16, channels=8, base_width=4, batch=4),
    "largest": Size(level=4, num_spheres=32, channels=8, base_width=4, batch=32),
}


def new_model(size: Size, **options: Any) -> Any:
    """Return a new model of a size."""
    made = dataclasses.asdict(size)
    del made["batch"], made["num_bins" if size.num_bins is None else "num_classes"]
    return (CSGNN if size.num_bins is None else CSGNNDOS)(**made, **options)


def blocks_of(model: nn.Module) -> list[Any]:
    """Return the `ConcentricBlock` of each level of a model, from the finest level to the icosahedron."""
    return [module for module in model.modules() if isinstance(module, ConcentricBlock)]


def num_vertices(level: int) -> int:
    """V = 10·4^l + 2."""
    return 10 * 4**level + 2


@lru_cache
def outline(size: Size) -> nn.Module:
    """Return a model with the weights of a size, which hang on whether there is more than one sphere only."""
    with torch.random.fork_rng(devices=[]):
        return new_model(dataclasses.replace(size, num_spheres=min(size.num_spheres, 2)))
