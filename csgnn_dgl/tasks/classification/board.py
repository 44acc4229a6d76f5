"""What TensorBoard shows of a validation of a classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from csgnn_dgl.tasks.classification.evaluation import score
from csgnn_dgl.tasks.classification.figures import confusion_figure
from csgnn_dgl.tasks.classification.module import ClassificationModule
from csgnn_dgl.training.lettering import show_figure

MOST = 8
"""Misclassified clouds that are shown."""


def show(writer: Any, module: ClassificationModule, answers: Tensor, items: Tensor, step: int, every: bool) -> None:
    """Draw the confusion matrix; with `every` also precision-recall curves and misclassified clouds.

    Parameters
    ----------
    writer
        TensorBoard's.
    module
        The classifier in training.
    answers
        (items, classes) probabilities.
    items
        (items,) int64: their places in the validation shapes.
    step
        Steps of the optimiser so far.
    every
        Whether to draw all.
    """
    clouds, names = module.data.validation_clouds, module.class_names
    labels = torch.as_tensor(clouds.labels)[items]
    found = score(answers, labels, module.data.train_rotation)
    show_figure(writer, "validation/confusion", confusion_figure([found], names), step)
    if not every:
        return
    for place, name in enumerate(names):
        if bool((labels == place).any()):
            writer.add_pr_curve(f"precision_recall/{name}", labels == place, answers[:, place], step)
    predicted = torch.as_tensor(found.predicted)
    wrong = (predicted != labels).nonzero().squeeze(1)[:MOST]
    if len(wrong):
        points = torch.as_tensor(clouds.points)[items[wrong]].float()
        writer.add_mesh("validation/misclassified", points, global_step=step)
        lines = [f"{n + 1}. {names[labels[k]]}, taken for {names[predicted[k]]}" for n, k in enumerate(wrong)]
        writer.add_text("validation/misclassified", "\n".join(lines), step)
