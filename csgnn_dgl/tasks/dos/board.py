"""What TensorBoard shows of a validation of a model of the DOS."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from csgnn_dgl.tasks.dos.figures import dos_figure, first_of_each
from csgnn_dgl.tasks.dos.module import DOSModule
from csgnn_dgl.training.lettering import show_figure


def show(writer: Any, module: DOSModule, answers: Tensor, items: Tensor, step: int, every: bool) -> None:
    """Draw predicted and reference DOS of one snapshot of each structure, with `every` only.

    Parameters
    ----------
    writer
        TensorBoard's.
    module
        The model in training.
    answers
        (items, count) predicted DOS.
    items
        (items,) int64: their places in the validation snapshots.
    step
        Steps of the optimiser so far.
    every
        Whether to draw.
    """
    if every:
        snapshots, prediction = module.prediction("validation", answers[None], items)
        figure = dos_figure([prediction], snapshots, first_of_each(snapshots))
        show_figure(writer, "validation/dos", figure, step)
