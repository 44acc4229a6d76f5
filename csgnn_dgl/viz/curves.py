"""Errors under rotation over the angle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from csgnn_dgl.symmetry import SO3Error

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_so3_error(
    errors: SO3Error | Mapping[str, SO3Error],
    axes: Axes | None = None,
    what: Literal["relative_error", "changed"] = "relative_error",
) -> Axes:
    """Draw what :func:`csgnn_dgl.so3_error` measured over the angle, one line for each model.

    Parameters
    ----------
    errors
        The errors of one model, or of several by name.
    axes
        Matplotlib axes; by default those of a new figure.
    what
        The relative error of the outputs, or the share of clouds whose largest output changed place.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        axes = plt.figure(figsize=(4.6, 3.4), layout="constrained").add_subplot()
    named = {"": errors} if isinstance(errors, SO3Error) else errors
    for name, error in named.items():
        axes.plot(error.angles, getattr(error, what), marker=".", label=name or None)
    titles = {"relative_error": "relative error of the outputs", "changed": "share of changed classes"}
    axes.set_xlabel("angle of rotation (°)")
    axes.set_title(titles[what], fontsize=10)
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    if "" not in named:
        axes.legend()
    return axes
