"""The roofline: the least time that this machine can take for the model, layer by layer.

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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.harness import Built, Entry
from benchmarks.machine import bf16_instructions
from benchmarks.sizes import Layer, Size, count_parameters, layers

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


def costs(size: Size, mode: str, width: int = 4) -> list[Cost]:
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
    found = [_cost(layer, mode == "training", width) for layer in layers(size)]
    if mode == "training":
        values = 4 * count_parameters(size)
        found.append(Cost("optimiser", 0, {}, {"optimiser": 7 * values}, values))
    return found


def _cost(layer: Layer, training: bool, width: int) -> Cost:
    read, written = width * layer.rows * layer.inner, width * layer.rows * layer.outer
    traffic: dict[str, int] = {}
    if layer.kind != "linear" and training:
        traffic["norm and ReLU"] = 7 * written
    if layer.kind == "intra":
        passes = 2 if training and not layer.first else 1
        traffic["neighbour sums"] = passes * 2 * min(read, written)
        if layer.inner == layer.outer:
            traffic["residual"] = (2 if training else 1) * read
    if layer.pooled:
        traffic["pooling"] = (2 if training else 1) * (written + round(written * layer.pooled))
    products = {"forward": _ways(layer, lambda rows, inner, outer: ("nn", rows, inner, outer), wide="inner")}
    if training:
        if not layer.first:
            products["input gradient"] = _ways(layer, lambda rows, c, f: ("nt", rows, f, c), wide="outer")
        products["weight gradient"] = _ways(layer, lambda rows, c, f: ("tn", c, rows, f), wide="inner")
    return Cost(str(layer), layer.macs, products, traffic, written)


def _ways(
    layer: Layer, product: Callable[[int, int, int], Product], wide: Literal["inner", "outer"]
) -> tuple[tuple[Product, ...], ...]:
    """Return one product per tap and, where there are several taps, also one product over all of them."""
    each = tuple(product(rows, layer.inner, layer.outer) for rows in layer.taps if rows > 0)
    count = len(each)
    if count == 1:
        return (each,)
    rows, inner, outer = sum(layer.taps) // count, layer.inner, layer.outer
    together = product(rows, count * inner, outer) if wide == "inner" else product(rows, inner, count * outer)
    return each, (together,)


def key_of(product: Product) -> str:
    """Name a product in the measurements."""
    return "mm {} {}x{}x{}".format(*product)


def _pieces(size: Size, modes: Sequence[str], width: int) -> tuple[list[Product], list[int]]:
    """Return the products, and the bytes of the copies, that the roofline is made of."""
    found = [cost for mode in modes for cost in costs(size, mode, width)]
    products = {item for cost in found for ways in cost.products.values() for way in ways for item in way}
    return sorted(products), sorted({cost.copied for cost in found})


def entry_of(size: Size, modes: Sequence[str], dtype: str, device: str = "cpu") -> Entry:
    """Return the entry that times all products and copies of a size; each turn begins with a run to warm the data."""
    products, copies = _pieces(size, modes, getattr(torch, dtype).itemsize)
    names = [*map(key_of, products), *(f"copy {copied}" for copied in copies)]
    options = {"size": size, "modes": modes, "dtype": dtype, "device": device}
    return Entry(f"roofline {dtype}", build, options, names, least=SHORTEST, warm_up=True)


def build(size: Size, modes: Sequence[str], dtype: str, device: str) -> Built:
    """Build the buffers, which all products and copies share."""
    features = getattr(torch, dtype)
    narrow = features == torch.bfloat16 and device == "cpu" and not bf16_instructions()
    products, copies = _pieces(size, modes, features.itemsize)
    largest = [max(m * k for _, m, k, _ in products), max(k * n for _, _, k, n in products)]
    largest.append(max(m * n for _, m, _, n in products))
    multiplied = torch.float32 if narrow else features
    buffers = [torch.full((count,), 0.5, dtype=multiplied, device=device) for count in largest]
    copied = [torch.full((max(copies) // features.itemsize,), 0.5, dtype=features, device=device) for _ in range(2)]
    actions = {key_of(item): product_of(item, buffers) for item in products}
    actions |= {f"copy {count}": _copy(count // features.itemsize, *copied) for count in copies}
    return Built(actions)


def product_of(item: Product, buffers: Sequence[Tensor]) -> Callable[[], object]:
    """Return what multiplies the first buffer with the second into the third."""
    transposed, m, k, n = item
    left, right, result = buffers
    one = left[: m * k].view(k, m).T if transposed == "tn" else left[: m * k].view(m, k)
    other = right[: k * n].view(n, k).T if transposed == "nt" else right[: k * n].view(k, n)
    out = result[: m * n].view(m, n)
    return lambda: torch.mm(one, other, out=out)


def _copy(count: int, source: Tensor, target: Tensor) -> Callable[[], object]:
    return lambda: target[:count].copy_(source[:count])


def height(found: list[Cost], seconds: Mapping[str, float], batch: int) -> dict[str, Any]:
    """Put the roofline together.

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
    for cost in found:
        products = {
            part: min(sum(seconds[key_of(item)] for item in way) for way in ways) / batch
            for part, ways in cost.products.items()
        }
        rate = 2 * cost.copied / seconds[f"copy {cost.copied}"]
        traffic = sum(cost.traffic.values()) / rate / batch
        total = sum(products.values())
        table.append(
            {
                "layer": cost.name,
                "products": total,
                "gflops_per_second": 2e-9 * cost.macs * len(products) / total / batch if products else None,
                "bytes": sum(cost.traffic.values()),
                "copy_gb_per_second": 1e-9 * rate,
                "traffic": traffic,
                "seconds": total + traffic,
            }
        )
    whole = {part: sum(row[part] for row in table) for part in ("seconds", "products", "traffic")}
    return {**whole, "layers": table}
