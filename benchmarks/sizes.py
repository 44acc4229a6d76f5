"""What is measured: the sizes of the models, and their layers."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import nn

from csgnn_dgl.models import CSGNN, CSGNNDOS
from csgnn_dgl.nn import ConcentricBlock


@dataclasses.dataclass(frozen=True)
class Size:
    """A model and a batch: level l, R spheres, C input channels, base width F.

    The model is a `CSGNN` of `num_classes`, or with `num_bins` a `CSGNNDOS` of so many energy bins.
    """

    level: int
    num_spheres: int
    channels: int
    base_width: int
    batch: int
    num_classes: int = 40
    num_bins: int | None = None

    @property
    def sample(self) -> str:
        """What a batch consists of."""
        return "sample" if self.num_bins is None else "environment"

    def __str__(self) -> str:
        kind = "" if self.num_bins is None else "density of states, "
        grid = f"level {self.level}, R = {self.num_spheres}, C = {self.channels}, F = {self.base_width}"
        return f"{kind}{grid}, batch {self.batch}"


SIZES = {
    "tiny": Size(level=1, num_spheres=2, channels=2, base_width=1, batch=4, num_classes=3),
    "small": Size(level=3, num_spheres=8, channels=8, base_width=2, batch=32),
    "wide": Size(level=3, num_spheres=8, channels=8, base_width=4, batch=32),
    # Inference and bfloat16 take a batch of 32 as well; training the composition takes far more memory.
    "paper": Size(level=4, num_spheres=20, channels=8, base_width=4, batch=4),
    "dos": Size(level=3, num_spheres=1, channels=32, base_width=4, batch=256, num_bins=310),
}
"""``small`` and ``wide`` are for two CPU cores, ``paper`` is the paper's classifier, ``dos`` its model of the density
of states with 256 atomic environments; ``tiny`` tries the programs out."""


def new_model(size: Size, **options: Any) -> CSGNN | CSGNNDOS:
    """Return a new model of a size."""
    made = dataclasses.asdict(size)
    del made["batch"], made["num_bins" if size.num_bins is None else "num_classes"]
    return (CSGNN if size.num_bins is None else CSGNNDOS)(**made, **options)


def blocks_of(model: nn.Module) -> list[Any]:
    """Return the `ConcentricBlock` of each level of a model, from the finest level to the icosahedron."""
    return [module for module in model.modules() if isinstance(module, ConcentricBlock)]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of the model, or a linear layer of its head.

    Attributes
    ----------
    kind
        ``"intra"``, ``"radial"`` or ``"linear"``.
    level
        Level of the grid; 0 in the head.
    num_spheres, nodes
        R, and V·B: vertices of a sphere times samples. In the head 1 and B.
    inner, outer
        Channels C and F.
    first
        Whether its input needs no gradient.
    pooled
        Share of the nodes that pooling leaves behind this layer: V(l - 1) / V(l); 0 where nothing is pooled.
    kernel_size
        K of a radial convolution, else 1.
    """

    kind: Literal["intra", "radial", "linear"]
    level: int
    num_spheres: int
    nodes: int
    inner: int
    outer: int
    first: bool = False
    pooled: float = 0.0
    kernel_size: int = 1

    def __str__(self) -> str:
        place = "head" if self.kind == "linear" else f"level {self.level}"
        return f"{place}: {self.kind} {self.inner} -> {self.outer}"

    @property
    def rows(self) -> int:
        """R·V·B."""
        return self.num_spheres * self.nodes

    @property
    def taps(self) -> list[int]:
        """Rows of the matrix product of each tap: a tap of offset o reads R - |o| spheres."""
        reach = self.kernel_size // 2
        return [max(self.num_spheres - abs(offset), 0) * self.nodes for offset in range(-reach, reach + 1)]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass; spheres outside the grid are not multiplied."""
        return sum(self.taps) * self.inner * self.outer


def num_vertices(level: int) -> int:
    """V = 10·4^l + 2."""
    return 10 * 4**level + 2


@lru_cache
def layers(size: Size) -> tuple[Layer, ...]:
    """List the layers in the order of the forward pass; the twelve numbers that smooth a DOS are none."""
    model = _outline(size)
    found: list[Layer] = []
    for depth, block in enumerate(blocks_of(model)):
        level = size.level - depth
        nodes = num_vertices(level) * size.batch
        for conv in [*block.intra, *block.radial]:
            *kernel, inner, outer = conv.weight.shape
            kind: Any = "radial" if kernel else "intra"
            found.append(Layer(kind, level, size.num_spheres, nodes, inner, outer, not found, 0.0, *kernel))
        if level > 0:
            found[-1] = dataclasses.replace(found[-1], pooled=num_vertices(level - 1) / num_vertices(level))
    head = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return *found, *(Layer("linear", 0, 1, size.batch, one.in_features, one.out_features) for one in head)


def count_parameters(size: Size) -> int:
    """Count the parameters of the model."""
    return sum(parameter.numel() for parameter in _outline(size).parameters())


@lru_cache
def _outline(size: Size) -> nn.Module:
    """Return a model with the weights of a size, which hang on whether there is more than one sphere only."""
    with torch.random.fork_rng(devices=[]):
        return new_model(dataclasses.replace(size, num_spheres=min(size.num_spheres, 2)))


def count_macs(size: Size) -> int:
    """Count the multiply-accumulates of one forward pass over the batch; neighbour sums multiply nothing."""
    return sum(layer.macs for layer in layers(size))
