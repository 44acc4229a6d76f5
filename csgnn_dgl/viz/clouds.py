"""Point clouds that are recognised, and which of their points a classification rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from csgnn_dgl.errors import InputError
from csgnn_dgl.viz.space import add_colour_bar, checked, colour_scale, space_axes, towards_viewer

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D


def draw_cloud(
    points: ArrayLike,
    axes: Axes3D | None = None,
    values: ArrayLike | None = None,
    *,
    title: str | None = None,
    value_name: str = "",
    size: float = 14.0,
) -> Axes3D:
    """Draw a cloud, z upwards, in equal units on all axes; near points are large and dark, far ones small and light.

    Parameters
    ----------
    points
        (N, 3) positions, any unit.
    axes
        Three-dimensional matplotlib axes; by default those of a new figure.
    values
        (N,) one value for each point, which then colours it.
    title
        Title of the axes.
    value_name
        What the values are; where it is given there is a colour bar.
    size
        Area of the nearest points, in square points.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.

    Raises
    ------
    InputError
        If shapes do not fit, or a number is not finite.
    """
    positions = checked(points, "points", 2)
    if positions.shape[1] != 3:
        raise InputError(f"points has the shape {positions.shape}; give (N, 3)")
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    radius = float(np.linalg.norm(positions - middle, axis=1).max()) or 1.0
    axes = space_axes(axes, radius)
    axes.set(**{f"{name}lim": (at - radius, at + radius) for name, at in zip("xyz", middle, strict=True)})
    depth = (positions - middle) @ towards_viewer(axes) / radius
    order = np.argsort(depth)
    nearness = ((depth + 1) / 2)[order]
    if values is None:
        from matplotlib import colormaps

        colours = colormaps["GnBu"](0.35 + 0.65 * nearness)
    else:
        numbers = checked(values, "values", 1)
        if len(numbers) != len(positions):
            raise InputError(f"values are {len(numbers)} for {len(positions)} points; give one for each")
        scale = colour_scale(numbers)
        colours = scale.to_rgba(numbers[order])
        if value_name:
            add_colour_bar(axes, scale, value_name)
    sizes = size * (0.35 + 0.65 * nearness)
    axes.scatter(*positions[order].T, s=sizes, c=colours, depthshade=False, edgecolors="white", linewidths=0.15)
    if title:
        axes.set_title(title)
    return axes


def saliency(model: nn.Module, points: Tensor, label: int | None = None) -> Tensor:
    """Return how much each point of a cloud moves the answer: the norm of the gradient of a class's logit.

    Parameters
    ----------
    model
        Maps points (B, N, 3) to logits (B, classes); evaluated as in testing.
    points
        (N, 3) one cloud, as the model gets it.
    label
        The class; by default the one that the model answers.

    Returns
    -------
    torch.Tensor
        (N,) norms, in logits per unit of length.

    Raises
    ------
    InputError
        If `points` is not one cloud, or there is no such class.
    """
    if points.dim() != 2 or points.shape[1] != 3:
        raise InputError(f"points has the shape {tuple(points.shape)}; give one cloud (N, 3)")
    training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            moved = points.detach().clone().requires_grad_()
            logits = model(moved[None])[0]
            if label is not None and not 0 <= label < len(logits):
                raise InputError(f"label is {label}; give 0 to {len(logits) - 1}")
            chosen = int(logits.argmax()) if label is None else label
            (gradient,) = torch.autograd.grad(logits[chosen], moved)
    finally:
        model.train(training)
    return gradient.norm(dim=1)


def draw_saliency(
    model: nn.Module,
    points: Tensor,
    axes: Axes3D | None = None,
    label: int | None = None,
    *,
    title: str | None = None,
) -> Axes3D:
    """Draw a cloud coloured by its `saliency`, on a scale that ends at its 98th percentile.

    Parameters
    ----------
    model, points, label
        As in `saliency`.
    axes, title
        As in `draw_cloud`.

    Returns
    -------
    mpl_toolkits.mplot3d.Axes3D
        The axes that were drawn on.

    Raises
    ------
    InputError
        As in `saliency`.
    """
    values = saliency(model, points, label).cpu().numpy()
    shown = np.minimum(values, np.quantile(values, 0.98))
    return draw_cloud(points, axes, shown, title=title, value_name="gradient of the logit (per unit of length)")
