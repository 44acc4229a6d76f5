"""The roof: the least time that this machine can take for the model, layer by layer.

It is the sum of two measured parts.

*Matrix products*, timed with ``torch.mm`` into a warm buffer for exactly the shapes of each layer with M = R·V·B rows:
forward (M, C)·(C, F), input gradient (M, F)·(F, C), weight gradient (C, M)·(M, F); no input gradient for the first
layer. A radial convolution has one product per tap, with (R - |offset|)·V·B rows; since one product over all taps at
once may be faster, the faster of both ways counts.

*Unavoidable traffic* outside the products, at the rate of a copy into a warm buffer of the layer's size. The products'
reading and writing is in their time already. Batch norm needs the statistics of all rows before it can normalise one,
so in training nothing of it hides in a product. With x the input, y the product, z the output of a layer, in bytes:

==============  ==============================================  ==========================================
step            training                                        inference (norm is folded into the weights)
==============  ==============================================  ==========================================
norm and ReLU   read y, write z; backward: read dz and y for    none
                the sums, read dz and y, write dy
neighbour sum   read and write the narrower of x and y;         read and write the narrower of x and y
                the same backward, but for the first layer
residual        read x; backward: read dz                       read x
pooling         read z, write a quarter; the same backward      read z, write a quarter
optimiser       Adam: read weight, gradient and both moments,   none
                write all but the gradient; in float32
==============  ==============================================  ==========================================

Loss, mapping, and the maxima over the grid count nothing. Under bfloat16 autocast products and traffic are those of
two-byte numbers; where the processor has no instructions for such products, they are those of float32.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.machine import bf16_instructions
from benchmarks.sizes import Layer, Size, layers

Mode = Literal["training", "inference"]
Product = tuple[str, int, int, int]
"""Which matrix is transposed ("nn", "nt", "tn"), and m, k, n of (m, k)·(k, n)."""

SHORTEST = 2e-3
"""Seconds: a shorter product or copy is repeated that long."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one layer costs at least.

    Attributes
    ----------
    name
        Where the layer stands.
    macs
        Multiply-accumulates of its forward pass.
    products
        For each part (forward, input gradient, weight gradient) the ways to compute it, each a list of products.
    traffic
        Bytes that are read or written beside the products, by step.
    copied
        Bytes of the copy whose rate the traffic is counted at.
    """

    name: str
    macs: int
    products: dict[str, tuple[tuple[Product, ...], ...]]
    traffic: dict[str, int]
    copied: int


def costs(size: Size, mode: Mode, width: int = 4) -> list[Cost]:
    """List what each layer costs at least, and the optimiser.

    Parameters
    ----------
    size
        The model and batch.
    mode
        ``"training"`` or ``"inference"``.
    width
        Bytes per number of a feature.
    """
    found = [_cost(layer, mode, width) for layer in layers(size)]
    if mode == "training":
        values = 4 * count_parameters(size)
        found.append(Cost("optimiser", 0, {}, {"optimiser": 7 * values}, values))
    return found


def count_parameters(size: Size) -> int:
    """Count weights and biases of the layers, those of batch norm too."""
    total = 0
    for layer in layers(size):
        total += layer.kernel_size * layer.inner * layer.outer + layer.outer * (3 if layer.normed else 1)
    return total


def _cost(layer: Layer, mode: Mode, width: int) -> Cost:
    read, written = width * layer.rows * layer.inner, width * layer.rows * layer.outer
    training = mode == "training"
    traffic: dict[str, int] = {}
    if layer.kind != "linear":
        if training:
            traffic["norm and ReLU"] = 7 * written
        if layer.kind == "intra":
            passes = 2 if training and not layer.first else 1
            traffic["neighbour sums"] = passes * 2 * min(read, written)
            if layer.inner == layer.outer:
                traffic["residual"] = (2 if training else 1) * read
        if layer.pooled:
            coarse = round(written * layer.pooled)
            traffic["pooling"] = (2 if training else 1) * (written + coarse)
    products = {"forward": _ways(layer, lambda rows, inner, outer: ("nn", rows, inner, outer), wide="inner")}
    if training:
        if not layer.first:
            products["input gradient"] = _ways(layer, lambda rows, c, f: ("nt", rows, f, c), wide="outer")
        products["weight gradient"] = _ways(layer, lambda rows, c, f: ("tn", c, rows, f), wide="inner")
    name = f"{layer.kind} {layer.inner} -> {layer.outer}"
    name = "head: " + name if layer.kind == "linear" else f"level {layer.level}: {name}"
    return Cost(name, layer.macs, products, traffic, written)


def _ways(
    layer: Layer, product: Callable[[int, int, int], Product], wide: Literal["inner", "outer"]
) -> tuple[tuple[Product, ...], ...]:
    """Return one product per tap and, where there are several taps, also one product over all of them."""
    each = tuple(product(rows, layer.inner, layer.outer) for rows in layer.taps if rows > 0)
    if len(each) == 1:
        return (each,)
    count = len(each)
    rows = sum(layer.taps) // count
    inner, outer = layer.inner, layer.outer
    together = product(rows, count * inner, outer) if wide == "inner" else product(rows, inner, count * outer)
    return each, (together,)


def key_of(product: Product) -> str:
    """Name a product in the measurements."""
    return "mm {} {}x{}x{}".format(*product)


class Roof:
    """Times all products and copies of a size, each once per call.

    Parameters
    ----------
    size
        The model and batch.
    modes
        Which of training and inference.
    dtype
        Type of the features.
    product_dtype
        Type of the operands of products.
    """

    def __init__(self, size: Size, modes: tuple[Mode, ...], dtype: torch.dtype, product_dtype: torch.dtype) -> None:
        products: set[Product] = set()
        copies: set[int] = set()
        for mode in modes:
            for cost in costs(size, mode, dtype.itemsize):
                products |= {item for ways in cost.products.values() for way in ways for item in way}
                copies.add(cost.copied)
        largest = [max(m * k for _, m, k, _ in products), max(k * n for _, _, k, n in products)]
        largest.append(max(m * n for _, m, _, n in products))
        self.buffers = [torch.full((count,), 0.5, dtype=product_dtype) for count in largest]
        self.copied = [torch.full((max(copies) // dtype.itemsize,), 0.5, dtype=dtype) for _ in range(2)]
        self.actions: dict[str, Callable[[], object]] = {}
        for item in sorted(products):
            self.actions[key_of(item)] = self._product(item)
        for size_in_bytes in sorted(copies):
            self.actions[f"copy {size_in_bytes}"] = self._copy(size_in_bytes // dtype.itemsize)
        self.counts: dict[str, int] = {}

    def _product(self, item: Product) -> Callable[[], object]:
        transposed, m, k, n = item
        left, right, result = self.buffers
        one = self._matrix(left, k, m).T if transposed == "tn" else self._matrix(left, m, k)
        other = self._matrix(right, n, k).T if transposed == "nt" else self._matrix(right, k, n)
        out = self._matrix(result, m, n)
        return lambda: torch.mm(one, other, out=out)

    @staticmethod
    def _matrix(buffer: Tensor, rows: int, columns: int) -> Tensor:
        return buffer[: rows * columns].view(rows, columns)

    def _copy(self, count: int) -> Callable[[], object]:
        source, target = (buffer[:count] for buffer in self.copied)
        return lambda: target.copy_(source)

    def __call__(self) -> dict[str, float]:
        """Time everything once and return seconds; each was run once before in the same call, so its data are warm."""
        return {name: self._time(name, action) for name, action in self.actions.items()}

    @torch.inference_mode()
    def _time(self, name: str, action: Callable[[], object]) -> float:
        start = time.perf_counter()
        action()
        if name not in self.counts:
            self.counts[name] = math.ceil(SHORTEST / max(time.perf_counter() - start, 1e-7))
        start = time.perf_counter()
        for _ in range(self.counts[name]):
            action()
        return (time.perf_counter() - start) / self.counts[name]


def make(size: dict[str, Any], modes: list[Mode], dtype: str) -> tuple[dict[str, Any], dict[str, Roof]]:
    """Build the roof for a worker."""
    features = getattr(torch, dtype)
    multiplied = torch.float32 if features == torch.bfloat16 and not bf16_instructions() else features
    return {}, {"measure": Roof(Size(**size), tuple(modes), features, multiplied)}


def height(found: list[Cost], seconds: Mapping[str, float], batch: int) -> dict[str, Any]:
    """Put the roof together.

    Parameters
    ----------
    found
        What `costs` listed.
    seconds
        Time of each product and copy, by its name.
    batch
        Samples of a batch.

    Returns
    -------
    dict
        Seconds per sample: of the products, the traffic and both, and for each layer with bytes and GFLOP/s.
    """
    table: list[dict[str, Any]] = []
    all_products = all_traffic = 0.0
    for cost in found:
        products = {
            part: min(sum(seconds[key_of(item)] for item in way) for way in ways) / batch
            for part, ways in cost.products.items()
        }
        rate = 2 * cost.copied / seconds[f"copy {cost.copied}"]
        traffic = sum(cost.traffic.values()) / rate / batch
        total = sum(products.values())
        all_products += total
        all_traffic += traffic
        table.append(
            {
                "layer": cost.name,
                "products": products,
                "gflops_per_second": 2e-9 * cost.macs * len(products) / total / batch if products else None,
                "bytes": cost.traffic,
                "copy_gb_per_second": 1e-9 * rate,
                "traffic": traffic,
                "seconds": total + traffic,
            }
        )
    return {
        "seconds": all_products + all_traffic,
        "products": all_products,
        "traffic": all_traffic,
        "layers": table,
    }
