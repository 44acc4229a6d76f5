"""The floor: what the device needs at least for the arithmetic and the traffic of the model."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.clock import attempt, measure
from benchmarks.gpu.setting import EPOCH, Precision, Setting, products_in
from benchmarks.roof import Mode, Product, costs, height, key_of
from benchmarks.sizes import Size, layers

MODES: tuple[Mode, ...] = ("training", "inference")


def floor(setting: Setting) -> dict[str, Any]:
    """Measure the rates of large products and copies, and the products and copies of all layers.

    Returns
    -------
    dict
        ``rates`` in TFLOP/s and GB/s (read and written), ``tflop_per_epoch``; for each precision and mode ``roof``:
        milliseconds per batch of the products at the shapes of the layers, of the unavoidable traffic at the copy rate,
        of both; and ``at_best_rate``: all arithmetic at the rate of a large product.
    """
    rates: dict[str, float] = {}
    errors: dict[str, str] = {}
    edge, count = (256, 2**20) if setting.tiny else (8192, 2**28)
    budget = 0.01 if setting.tiny else 0.3
    precisions: tuple[Precision, ...] = ("bf16", "tf32", "float32")
    for precision in precisions:
        found = attempt(errors, f"product, {precision}", _large_product, setting, precision, edge, budget)
        rates |= found or {}
    rates |= attempt(errors, "copy", _large_copy, setting, count, budget) or {}
    roof: dict[str, Any] = {}
    roofs: tuple[tuple[Precision, int], ...] = (("bf16", 2), ("float32", 4))
    for precision, width in roofs:
        for mode in MODES:
            found = attempt(errors, f"roof, {precision}, {mode}", _roof, setting, precision, width, mode)
            if found is not None:
                work = flop(setting.size, mode)
                found["at_best_rate"] = 1e-9 * work / rates.get(f"{precision} TFLOP/s", float("nan"))
                roof[f"{mode}, {precision}"] = found
    epoch = 1e-12 * flop(setting.size, "training") * EPOCH / setting.size.batch
    return {"rates": rates, "tflop_per_epoch": epoch, "roof": roof, "errors": errors}


def flop(size: Size, mode: Mode) -> int:
    """Count the floating-point operations of a batch: in training also those of both gradients."""
    total = 0
    for layer in layers(size):
        passes = 1 if mode == "inference" else 2 if layer.first else 3
        total += 2 * layer.macs * passes
    return total


def _large_product(setting: Setting, precision: Precision, edge: int, seconds: float) -> dict[str, float]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other, result = (torch.randn(edge, edge, device=setting.device, dtype=dtype) for _ in range(3))
    with products_in(precision):
        spent = measure(lambda: torch.mm(one, other, out=result), setting.device, seconds)["median"]
    return {f"{precision} TFLOP/s": 2e-9 * edge**3 / spent}


def _large_copy(setting: Setting, count: int, seconds: float) -> dict[str, float]:
    one, other = (torch.rand(count, device=setting.device) for _ in range(2))
    spent = measure(lambda: other.copy_(one), setting.device, seconds)["median"]
    return {"copy GB/s": 2e-6 * one.nbytes / spent}


def _roof(setting: Setting, precision: Precision, width: int, mode: Mode) -> dict[str, Any]:
    found = costs(setting.size, mode, width)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    seconds: dict[str, float] = {}
    budget = 1e-3 if setting.tiny else 0.01
    with products_in(precision):
        for item in {item for cost in found for ways in cost.products.values() for way in ways for item in way}:
            seconds[key_of(item)] = _product(setting, item, dtype, budget)
        for copied in {cost.copied for cost in found}:
            one, other = (torch.rand(copied // width, device=setting.device).to(dtype) for _ in range(2))
            spent = measure(partial(other.copy_, one), setting.device, budget)
            seconds[f"copy {copied}"] = 1e-3 * spent["median"]
    whole = height(found, seconds, setting.size.batch)
    scale = 1e3 * setting.size.batch
    return {
        "ms": scale * whole["seconds"],
        "products": scale * whole["products"],
        "traffic": scale * whole["traffic"],
        "layers": whole["layers"],
    }


def _product(setting: Setting, item: Product, dtype: torch.dtype, budget: float) -> float:
    transposed, m, k, n = item
    one = torch.randn(*((k, m) if transposed == "tn" else (m, k)), device=setting.device).to(dtype)
    other = torch.randn(*((n, k) if transposed == "nt" else (k, n)), device=setting.device).to(dtype)
    one, other = one.T if transposed == "tn" else one, other.T if transposed == "nt" else other
    result = torch.empty(m, n, device=setting.device, dtype=dtype)
    return 1e-3 * float(measure(lambda: torch.mm(one, other, out=result), setting.device, budget)["median"])
