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

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.contenders import MODES
from benchmarks.harness import Built, Entry, describe
from benchmarks.sizes import Size, blocks_of, num_vertices, outline

Product = tuple[str, int, int, int]
"""Which matrix is transposed ("nn", "nt", "tn"), and m, k, n of (m, k)·(k, n)."""
Ways = tuple[tuple[Product, ...], ...]
"""Ways to compute the same, each a sequence of products."""


class Cost(NamedTuple):
    """What one layer costs at least: products by part, bytes beside them by step, and those of the copy timed."""

    name: str
    macs: int
    products: dict[str, Ways]
    traffic: dict[str, int]
    copied: int


def costs(size: Size, mode: str, width: int = 4) -> list[Cost]:
    """List what each layer costs at least, and the optimiser, with `width` bytes per number of a feature."""
    model, training, found = outline(size), mode == "training", list[Cost]()
    both = 2 if training else 1
    for depth, block in enumerate(blocks_of(model)):
        level, convolutions = size.level - depth, [*block.intra, *block.radial]
        nodes = num_vertices(level) * size.batch
        for conv in convolutions:
            *kernel, inner, outer = conv.weight.shape
            taps = [size.num_spheres - abs(place - k // 2) for k in kernel or [1] for place in range(k)]
            read, written = (width * size.num_spheres * nodes * channels for channels in (inner, outer))
            traffic = {"norm and ReLU": 7 * written} if training else {}
            if not kernel:
                traffic["neighbour sums"] = (both if found else 1) * 2 * min(read, written)
                if inner == outer:
                    traffic["residual"] = both * read
            if level > 0 and conv is convolutions[-1]:
                traffic["pooling"] = both * (written + written * num_vertices(level - 1) // num_vertices(level))
            name = f"level {level}: {'radial' if kernel else 'intra'} {inner} -> {outer}"
            rows = [nodes * count for count in taps if count > 0]  # a tap of offset o reads R - |o| spheres
            found.append(_cost(name, rows, inner, outer, training, not found, traffic, written))
    for layer in (module for module in model.modules() if isinstance(module, nn.Linear)):
        inner, outer, written = layer.in_features, layer.out_features, width * size.batch * layer.out_features
        found.append(_cost(f"head: {inner} -> {outer}", [size.batch], inner, outer, training, False, {}, written))
    if training:
        values = 4 * sum(parameter.numel() for parameter in model.parameters())
        found.append(Cost("optimiser", 0, {}, {"optimiser": 7 * values}, values))
    return found


def _cost(
    name: str, taps: list[int], c: int, f: int, training: bool, first: bool, traffic: dict[str, int], copied: int
) -> Cost:
    """Return the cost of a layer from the rows of each tap; `first`: its input needs no gradient."""
    rows, count = sum(taps) // len(taps), len(taps)
    products: dict[str, Ways] = {
        "forward": (tuple(("nn", m, c, f) for m in taps), (("nn", rows, count * c, f),)),
        "input gradient": (tuple(("nt", m, f, c) for m in taps), (("nt", rows, count * f, c),)),
        "weight gradient": (tuple(("tn", c, m, f) for m in taps), (("tn", count * c, rows, f),)),
    }
    if first:
        del products["input gradient"]
    kept = {part: ways[:count] for part, ways in products.items() if training or part == "forward"}  # one tap, one way
    return Cost(name, sum(taps) * c * f, kept, traffic, copied)


def count_macs(size: Size) -> int:
    """Count the multiply-accumulates of one forward pass over the batch; neighbour sums multiply nothing."""
    return sum(cost.macs for cost in costs(size, "inference"))


def key_of(product: Product) -> str:
    """Name a product in the measurements."""
    return "mm {} {}x{}x{}".format(*product)


def entry_of(size: Size, dtype: str, device: str = "cpu") -> Entry:
    """Return the entry that times all products and copies of a size."""
    return Entry(f"roofline {dtype}", build, {"size": size, "dtype": dtype, "device": device}, short=True)


def build(size: Size, dtype: str, device: str) -> Built:
    """Build the buffers, which all products and copies share."""
    features = multiplied = getattr(torch, dtype)
    if features == torch.bfloat16 and device == "cpu" and not describe("")["bf16_instructions"]:
        multiplied = torch.float32
    found = [cost for mode in MODES for cost in costs(size, mode, features.itemsize)]
    products = sorted({item for cost in found for ways in cost.products.values() for way in ways for item in way})
    copies = sorted({cost.copied for cost in found})
    largest = [max(sizes) for sizes in zip(*((m * k, k * n, m * n) for _, m, k, n in products), strict=True)]
    buffers = [torch.full((count,), 0.5, dtype=multiplied, device=device) for count in largest]
    copied = [torch.full((copies[-1] // features.itemsize,), 0.5, dtype=features, device=device) for _ in range(2)]
    actions = {key_of(item): product_of(item, buffers) for item in products}
    return Built(actions | {f"copy {count}": _copy(count // features.itemsize, *copied) for count in copies})


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
    """Put the roofline together from the time of each product and copy: seconds per sample, in all and by layer."""
    table: list[dict[str, Any]] = []
    for cost in found:
        ways = cost.products.values()
        products = sum(min(sum(seconds[key_of(item)] for item in way) for way in some) for some in ways) / batch
        rate = 2 * cost.copied / seconds[f"copy {cost.copied}"]
        traffic = sum(cost.traffic.values()) / rate / batch
        table.append(
            {
                "layer": cost.name,
                "products": products,
                "gflops_per_second": 2e-9 * cost.macs * len(ways) / products / batch if ways else None,
                "bytes": sum(cost.traffic.values()),
                "copy_gb_per_second": 1e-9 * rate,
                "traffic": traffic,
                "seconds": products + traffic,
            }
        )
    return {part: sum(row[part] for row in table) for part in ("seconds", "products", "traffic")} | {"layers": table}
