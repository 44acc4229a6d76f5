"""What a layer answers to a rotated cloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import icosahedral_rotations
from csgnn_dgl.testing import rotate_grid, rotate_points
from csgnn_dgl.viz.clouds import draw_cloud
from csgnn_dgl.viz.features import draw_map
from csgnn_dgl.viz.space import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def response_figure(
    function: Callable[[Tensor], Tensor],
    points: Tensor,
    rotations: Sequence[FloatArray],
    *,
    channel: int = 0,
    sphere: int = -1,
) -> Figure:
    """Draw a cloud under some rotations, and below each what a function makes of it on one sphere.

    Where a rotation is one of the 60 of the icosahedron, the title of the map says how far the answer to the rotated
    cloud is from the rotated answer, relative to the answer.

    Parameters
    ----------
    function
        Maps points (1, N, 3) to features on the grid (R, V, 1, C), such as a mapping with layers behind it.
    points
        (N, 3) the cloud.
    rotations
        (3, 3) matrices; the cloud as it is comes first by itself.
    channel, sphere
        Which of the answer's channels and spheres to show.

    Returns
    -------
    matplotlib.figure.Figure
        The figure.

    Raises
    ------
    InputError
        If the function gives another shape, or there is no such channel or sphere.
    """
    import matplotlib.pyplot as plt

    matrices = [np.eye(3), *(np.asarray(rotation, dtype=float) for rotation in rotations)]
    with torch.no_grad():
        clouds = [rotate_points(points, matrix) for matrix in matrices]
        answers = [function(cloud[None]) for cloud in clouds]
    shape = tuple(answers[0].shape)
    if len(shape) != 4 or shape[2] != 1:
        raise InputError(f"the function gives the shape {shape}; let it give (R, V, 1, C)")
    if not (-shape[0] <= sphere < shape[0] and 0 <= channel < shape[3]):
        raise InputError(f"sphere {sphere} and channel {channel} are not both in an answer of the shape {shape}")
    maps = [answer[sphere, :, 0, channel].double().cpu().numpy() for answer in answers]
    low, high = min(map(np.min, maps)), max(map(np.max, maps))
    largest = float(max(abs(low), abs(high))) or 1.0
    limits = (-largest if low < 0 else 0.0, largest)
    figure = plt.figure(figsize=(3.2 * len(matrices), 5.0), layout="constrained")
    for place, (matrix, cloud, answer, shown) in enumerate(zip(matrices, clouds, answers, maps, strict=True), start=1):
        angle = np.rad2deg(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
        above = figure.add_subplot(2, len(matrices), place, projection="3d")
        draw_cloud(cloud, above, size=7, title="the cloud" if place == 1 else f"turned by {angle:.0f}°")
        known = np.flatnonzero(np.abs(icosahedral_rotations() - matrix).max(axis=(1, 2)) < 1e-6)
        title = "its answer"
        if place > 1 and len(known):
            difference = answer - rotate_grid(answers[0], int(known[0]))
            error = float(difference.norm() / answers[0].norm().clamp_min(1e-30))
            title = f"turned with it, up to {error:.0e}"
        elif place > 1:
            title = "no rotation of the icosahedron"
        below = figure.add_subplot(2, len(matrices), len(matrices) + place, projection="mollweide")
        draw_map(shown, below, limits=limits, title=title)
    return figure
