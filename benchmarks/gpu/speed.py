"""Times of training and inference in several variants, of their pieces, and over numbers of spheres."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.clock import attempt, measure, synchronize
from benchmarks.gpu.setting import EPOCH, Precision, Setting, products_in
from benchmarks.gpu.work import Work
from benchmarks.sizes import Size
from csgnn_dgl.files import atomic_write
from csgnn_dgl.mapping import MAPPINGS
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball

Variant = Literal["eager", "graph", "compiled", "compiled, graph", "reduce-overhead"]
MODES = ("training", "inference")
NUM_SPHERES = (1, 8, 16, 24, 32)
PAPER = {
    "training": {1: 51.0, 8: 83.0, 16: 104.0, 24: 150.0, 32: 204.0},
    "inference": {1: 51.0, 8: 75.0, 16: 97.0, 24: 119.0, 32: 155.0},
}
"""Table 4, on a V100: seconds per epoch and milliseconds per batch of 32, by the number of spheres."""
ANNOTATIONS = ("Optimizer.", "ProfilerStep", "## ")
"""What the profiler lists beside the kernels, as spans of several."""
PAPER_AT_20 = {"training": 127.0, "inference": 108.0}
"""The same interpolated to 20 spheres."""
GOALS = {"training": (8.0, 3.0), "inference": (3.0,)}
"""Seconds per epoch (first step, then goal), and milliseconds per batch of 32."""


def speed(setting: Setting, precision: Precision, variants: tuple[Variant, ...]) -> dict[str, Any]:
    """Time training and inference of the paper's model; all variants share one model.

    Returns
    -------
    dict
        ``rows``, one for each mode and variant, and ``errors``.
    """
    if any(variant != "eager" for variant in variants):
        setting.need_cuda("a CUDA graph")
    rows: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    with products_in(precision):
        work = Work(setting, setting.size, precision)
        for variant in variants:
            for mode in MODES:
                row = attempt(errors, f"{mode}, {variant}", time_variant, setting, work, mode, variant)
                rows += [] if row is None else [row]
    if not rows:
        raise RuntimeError("; ".join(f"{name}: {error}" for name, error in errors.items()))
    return {"rows": rows, "errors": errors}


def time_variant(setting: Setting, work: Work, mode: str, variant: Variant, seconds: float = 1.5) -> dict[str, Any]:
    """Time one mode of one variant, with its peak memory; compare logits with the eager ones."""
    row: dict[str, Any] = {"mode": mode, "precision": work.precision, "variant": variant}
    work.model.train(mode == "training")
    work.eager()
    if setting.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if variant.startswith("compiled") or variant == "reduce-overhead":
        work.compile("reduce-overhead" if variant == "reduce-overhead" else None)
    action = work.training if mode == "training" else work.inference
    if not variant.endswith("graph"):
        row["first_call_seconds"] = work.first_call(action)
    elif mode == "training":
        work.capture_learning()
    else:
        work.capture_classifying()
    row["ms"] = measure(action, setting.device, seconds=0.01 if setting.tiny else seconds)
    if setting.cuda:
        row["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
    if mode == "training":
        row["loss"] = float(work.training())
        row["seconds_per_epoch"] = epoch_seconds(row["ms"]["median"], work.size)
    else:
        features = work.features(0)
        expected = work.eager_logits(features).double()
        row["difference_from_eager"] = float((work.classifying(features).double() - expected).norm() / expected.norm())
    return row


def epoch_seconds(milliseconds: float, size: Size) -> float:
    """Return the seconds of an epoch of the ModelNet40 training split from those of a step."""
    return 1e-3 * milliseconds * EPOCH / size.batch


def pieces(setting: Setting) -> dict[str, Any]:
    """Time what surrounds the layers in a step: transfer, augmentation, mapping, and drawing on the host."""
    errors: dict[str, str] = {}
    work = Work(setting, setting.size, "bf16")
    points = work.points(0)
    ball = scale_to_unit_ball(points)
    pageable = work.clouds[0].clone()
    draws = work.draws[0].to(setting.device)
    grid = (setting.size.level, setting.size.num_spheres, setting.size.channels)
    mappings = {kind: mapping(*grid).to(setting.device) for kind, mapping in MAPPINGS.items()}
    actions: dict[str, Any] = {
        "clouds to the device, pinned": lambda: work.points(0),
        "clouds to the device, pageable": lambda: pageable.to(setting.device),
        "draws to the device": lambda: work.draws[0].to(setting.device),
        "augmentation, draws on the device": lambda: draws.apply(points),
        "unit ball": lambda: scale_to_unit_ball(points),
        "mapping, shell": lambda: mappings["shell"](ball),
        "mapping, prism": lambda: mappings["prism"](ball),
        "mapping, shell, deterministic": lambda: _deterministic(lambda: mappings["shell"](ball)),
        "transfer, augmentation and mapping": lambda: work.features(0, augmented=True),
        "optimiser": work.optimizer.step,
        "drawing on the host (a loader's work)": lambda: work.draw(0),
    }
    work.learn(work.features(0), work.labels[0].to(setting.device))
    found = {}
    for name, action in actions.items():
        found[name] = attempt(errors, name, measure, action, setting.device, 0.01 if setting.tiny else 0.3)
    return {"ms": {name: value for name, value in found.items() if value}, "errors": errors}


def _deterministic(action: Any) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        action()
    finally:
        torch.use_deterministic_algorithms(before)


def spheres(setting: Setting) -> dict[str, Any]:
    """Time training and inference over numbers of spheres, as in Table 4 of the paper."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    variant: Variant = "graph" if setting.cuda else "eager"
    precisions: tuple[Precision, ...] = ("bf16", "float32")
    for precision in precisions:
        for count in NUM_SPHERES[:2] if setting.tiny else NUM_SPHERES:
            size = dataclasses.replace(setting.size, num_spheres=count)
            row = attempt(errors, f"R = {count}, {precision}", _at_spheres, setting, size, precision, variant)
            rows += [] if row is None else [row]
    if not rows:
        raise RuntimeError("; ".join(f"{name}: {error}" for name, error in errors.items()))
    return {"rows": rows, "errors": errors}


def _at_spheres(setting: Setting, size: Size, precision: Precision, variant: Variant) -> dict[str, Any]:
    if setting.cuda:
        torch.cuda.empty_cache()
    with products_in(precision):
        work = Work(setting, size, precision)
        training = time_variant(setting, work, "training", variant, seconds=0.7)
        inference = time_variant(setting, work, "inference", variant, seconds=0.4)
    return {
        "num_spheres": size.num_spheres,
        "precision": precision,
        "variant": variant,
        "seconds_per_epoch": training["seconds_per_epoch"],
        "ms_per_batch": inference["ms"]["median"],
        "peak_memory_gb": training.get("peak_memory_gb"),
    }


def heaviest(setting: Setting, count: int = 25, steps: int = 3) -> dict[str, Any]:
    """Profile eager training steps in bfloat16; write the heaviest kernels to ``profile.txt``."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.cuda else [])]
    work = Work(setting, setting.size, "bf16")
    steps = 1 if setting.tiny else steps
    for _ in range(steps):
        work.training()
    synchronize(setting.device)
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            work.training()
        synchronize(setting.device)
    lines: list[dict[str, Any]] = []
    for event in profiler.key_averages():
        if setting.cuda and (not str(event.device_type).endswith("CUDA") or event.key.startswith(ANNOTATIONS)):
            continue
        spent = event.self_device_time_total if setting.cuda else event.self_cpu_time_total
        lines.append({"name": event.key, "ms": 1e-3 * spent / steps, "launches": event.count / steps})
    lines.sort(key=lambda line: -line["ms"])
    total, launches = sum(line["ms"] for line in lines), sum(line["launches"] for line in lines)
    text = [
        f"one training step, eager, bf16: {total:.2f} ms in {launches:.0f} launches",
        "",
        "ms  share  launches  name",
    ]
    for line in lines[:count]:
        text.append(f"{line['ms']:.3f}  {line['ms'] / max(total, 1e-9):.1%}  {line['launches']:.0f}  {line['name']}")
    with atomic_write(setting.output / "profile.txt") as file:
        file.write_text("\n".join(text) + "\n", encoding="utf-8")
    return {"ms": total, "launches": launches, "heaviest": lines[:count]}
