"""The sizes of the model that are measured, its layers, and how many multiply-accumulates each does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from csgnn_dgl.models.csgnn import DEPTHS

KERNEL_SIZE = 3


@dataclasses.dataclass(frozen=True)
class Size:
    """A CSGNN and a batch: level l, R spheres, C input channels, base width F."""

    level: int
    num_spheres: int
    channels: int
    base_width: int
    batch: int
    num_classes: int = 40

    def model_options(self) -> dict[str, Any]:
        """Return what `CSGNN` takes."""
        options = dataclasses.asdict(self)
        del options["batch"]
        return options


SIZES = {
    "tiny": Size(level=1, num_spheres=2, channels=2, base_width=1, batch=4, num_classes=3),
    "small": Size(level=3, num_spheres=8, channels=8, base_width=2, batch=32),
    "wide": Size(level=3, num_spheres=8, channels=8, base_width=4, batch=32),
    # Inference and bfloat16 take a batch of 32 as well; training the composition takes far more memory.
    "paper": Size(level=4, num_spheres=20, channels=8, base_width=4, batch=4),
}
"""``small`` and ``wide`` are for two CPU cores, ``paper`` is the paper's model, ``tiny`` tries the programs out."""


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
    """

    kind: Literal["intra", "radial", "linear"]
    level: int
    num_spheres: int
    nodes: int
    inner: int
    outer: int
    first: bool = False
    pooled: float = 0.0

    @property
    def rows(self) -> int:
        """R·V·B."""
        return self.num_spheres * self.nodes

    @property
    def taps(self) -> list[int]:
        """Rows of the matrix product of each tap: a tap of offset o reads R - |o| spheres."""
        reach = KERNEL_SIZE // 2 if self.kind == "radial" else 0
        return [max(self.num_spheres - abs(offset), 0) * self.nodes for offset in range(-reach, reach + 1)]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass; spheres outside the grid are not multiplied."""
        return sum(self.taps) * self.inner * self.outer


def num_vertices(level: int) -> int:
    """V = 10·4^l + 2."""
    return 10 * 4**level + 2


def layers(size: Size) -> Iterator[Layer]:
    """List the layers in the order of the forward pass."""
    width, total = size.channels, 0
    for depth, (num_intra, num_radial) in enumerate(zip(*DEPTHS[size.level], strict=True)):
        level = size.level - depth
        nodes = num_vertices(level) * size.batch
        scale = 8 * size.base_width * 2**depth
        for index in range(num_intra):
            yield Layer("intra", level, size.num_spheres, nodes, width, scale, first=depth == index == 0)
            width = scale
        for index in range(num_radial):
            last = index == num_radial - 1 and level > 0
            pooled = num_vertices(level - 1) / num_vertices(level) if last else 0.0
            yield Layer("radial", level, size.num_spheres, nodes, width, 2 * scale, pooled=pooled)
            width = 2 * scale
        total += width
    for inner, outer in ((total, 512), (512, 256), (256, size.num_classes)):
        yield Layer("linear", 0, 1, size.batch, inner, outer)


def count_macs(size: Size) -> int:
    """Count the multiply-accumulates of one forward pass over the batch; neighbour sums multiply nothing."""
    return sum(layer.macs for layer in layers(size))
