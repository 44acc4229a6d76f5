"""The sizes of the model that are measured, its layers, and how many multiply-accumulates each does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

from csgnn_dgl.models.classifiers.csgnn import DEPTHS

KERNEL_SIZE = 3


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

    def model_options(self) -> dict[str, Any]:
        """Return what the model takes."""
        options = dataclasses.asdict(self)
        del options["batch"], options["num_bins" if self.num_bins is None else "num_classes"]
        return options


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
    normed
        Whether batch norm and ReLU follow.
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
    normed: bool = True

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


def layers(size: Size) -> Iterator[Layer]:
    """List the layers in the order of the forward pass; the twelve numbers that smooth a DOS are none."""
    width, total, dos = size.channels, 0, size.num_bins is not None
    kernel_size = 1 if dos and size.num_spheres == 1 else KERNEL_SIZE
    depths = DEPTHS[size.level]
    if dos:  # on the icosahedron the radial convolution comes after the mean, as the first linear layer
        depths = [2] * size.level + [1], [2] * size.level + [0]
    for depth, (num_intra, num_radial) in enumerate(zip(*depths, strict=True)):
        level = size.level - depth
        nodes = num_vertices(level) * size.batch
        scale = 8 * size.base_width * 2**depth
        for index in range(num_intra):
            yield Layer("intra", level, size.num_spheres, nodes, width, scale, first=depth == index == 0)
            width = scale
        for index in range(num_radial):
            last = index == num_radial - 1 and level > 0
            pooled = num_vertices(level - 1) / num_vertices(level) if last else 0.0
            yield Layer(
                "radial", level, size.num_spheres, nodes, width, 2 * scale, pooled=pooled, kernel_size=kernel_size
            )
            width = 2 * scale
        total += width
    widths = [total, 512, 256, size.num_classes]
    if size.num_bins is not None:
        widths = [width, 2 * width, 128 * size.base_width, 128 * size.base_width, size.num_bins]
    for index, (inner, outer) in enumerate(pairwise(widths)):
        yield Layer("linear", 0, 1, size.batch, inner, outer, normed=dos or index < 2)


def count_macs(size: Size) -> int:
    """Count the multiply-accumulates of one forward pass over the batch; neighbour sums multiply nothing."""
    return sum(layer.macs for layer in layers(size))
