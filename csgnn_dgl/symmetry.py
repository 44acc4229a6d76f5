"""How far from invariant a model is: measured errors under any rotation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl.geometry.rotations import rotations_about

ANGLES: tuple[float, ...] = (0, 5, 10, 20, 30, 45, 60, 90, 120, 150, 180)
"""Angles, in degrees, at which errors under rotation are measured."""


@dataclass(frozen=True)
class SO3Error:
    """How much a model's outputs change when its inputs are turned; see :func:`so3_error`.

    Attributes
    ----------
    angles
        (A,) rotation angles in degrees.
    relative_error
        (A,) mean over clouds and axes of ‖f(Rx) - f(x)‖ / ‖f(x)‖.
    changed
        (A,) share of clouds whose largest output changed place.
    num_clouds
        Clouds that were turned.
    """

    angles: tuple[float, ...]
    relative_error: tuple[float, ...]
    changed: tuple[float, ...]
    num_clouds: int

    def __str__(self) -> str:
        rows = [
            f"{a:9.1f}  {e:14.4f}  {c:13.1%}"
            for a, e, c in zip(self.angles, self.relative_error, self.changed, strict=True)
        ]
        return "\n".join(["angle (°)  relative error  class changes", *rows])


def so3_error(
    model: Callable[[Tensor], Tensor],
    points: Tensor,
    angles: Sequence[float] = ANGLES,
    axes_per_angle: int = 4,
    batch_size: int = 32,
    seed: int = 0,
) -> SO3Error:
    """Measure how far a model's outputs are from invariance under rotations by given angles.

    Parameters
    ----------
    model
        Maps points (B, N, 3) to outputs (B, ...), such as :class:`csgnn_dgl.CSGNN`. A module is switched to
        evaluation mode for the measurement.
    points
        (S, N, 3) clouds of a data set; what else a point carries, (S, N, 3 + K), stays as it is.
    angles
        Angles in degrees; each is measured about `axes_per_angle` axes per cloud, uniform on the sphere.
    axes_per_angle
        Number of axes.
    batch_size
        Clouds per call of the model.
    seed
        Seed of the axes.

    Returns
    -------
    SO3Error
        Errors over angle; ``print`` shows a table.
    """
    rng = np.random.default_rng(seed)
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(batch) for batch in points.split(batch_size)]).flatten(1)
        norms = outputs.norm(dim=1).clamp_min(torch.finfo(outputs.dtype).tiny)
        errors, changed = [], []
        for angle in angles:
            error = change = 0.0
            for _ in range(axes_per_angle):
                axes = rng.normal(size=(len(points), 3))
                matrices = torch.from_numpy(rotations_about(axes, np.deg2rad(angle))).to(points)
                rotated = torch.cat([points[..., :3] @ matrices.transpose(1, 2), points[..., 3:]], dim=-1)
                turned = torch.cat([model(batch) for batch in rotated.split(batch_size)]).flatten(1)
                error += float(((turned - outputs).norm(dim=1) / norms).mean())
                change += float((turned.argmax(1) != outputs.argmax(1)).double().mean())
            errors.append(error / axes_per_angle)
            changed.append(change / axes_per_angle)
    if was_training and isinstance(model, nn.Module):
        model.train()
    return SO3Error(tuple(float(angle) for angle in angles), tuple(errors), tuple(changed), len(points))
