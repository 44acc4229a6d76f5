"""Pictures of what a classifier says of a shape."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from csgnn_dgl.data import CloudTransform, load
from csgnn_dgl.errors import InputError
from csgnn_dgl.files import atomic_write
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.pose import posed
from csgnn_dgl.tasks.classification.prediction import ShapePrediction
from csgnn_dgl.tasks.classification.trained import TrainedClassifier
from csgnn_dgl.training.lettering import label as lettered
from csgnn_dgl.training.lettering import save_figure
from csgnn_dgl.viz import draw_cloud, draw_features

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mpl_toolkits.mplot3d import Axes3D

Points = NDArray[np.float32]

LONGEST = 80
"""Most letters of the name of a file."""


def training_clouds(model: TrainedClassifier, folder: str | os.PathLike[str] | None = None) -> dict[str, Points]:
    """Return the clouds that a model was trained on by their names, as it gets them.

    Parameters
    ----------
    model
        The model.
    folder
        The folder of its training data; by default where the training found them. The built-in shapes need none.

    Returns
    -------
    dict
        Empty where the data, or names of the shapes, are not at hand.

    Raises
    ------
    InputError
        If the folder cannot be read, or has none of the shapes that the model was trained on.
    """
    source = folder or model.data.get("source", "")
    if not source or (folder is None and source != "builtin" and not os.path.isdir(source)):
        return {}
    clouds = load(source, "train", model.num_points, up_axis=model.data.get("up_axis", "auto"))
    points = CloudTransform()(torch.from_numpy(clouds.points), normalised=clouds.normalised).numpy()
    found = dict(zip(clouds.names, points, strict=False))
    if folder is not None and model.domain is not None and not found.keys() & set(model.domain.names):
        raise InputError(f"{folder}: no shape that the weights were trained on is here; give their training data")
    return found


def write_figures(
    folder: Path,
    predictions: Sequence[ShapePrediction],
    model: TrainedClassifier,
    training: Mapping[str, Points] | None = None,
) -> None:
    """Write a figure of each prediction, called as its shape; see `answer_figure`."""
    for name, found in zip(figure_names(predictions), predictions, strict=True):
        with atomic_write(folder / f"{name}.png") as file:
            save_figure(answer_figure(found, model, training), file)


def figure_names(predictions: Sequence[ShapePrediction]) -> Iterator[str]:
    """Yield a name for the figure of each shape; no two are the same, upper and lower case being one.

    It is the name of its file without the suffix, and a number where that is taken. Letters that are neither of an
    alphabet nor digits become underscores.
    """
    taken: set[str] = set()
    for found in predictions:
        stem = re.sub(r"[^\w+-]", "_", Path(found.name).stem).lstrip("-")
        stem = stem.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore") or "shape"
        names = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        yield name


def answer_figure(
    found: ShapePrediction, model: TrainedClassifier, training: Mapping[str, Points] | None = None
) -> Figure:
    """Draw a cloud, its features on the spheres, the answer, and the nearest training shapes.

    Parameters
    ----------
    found
        What the model says.
    model
        The model. Features are drawn of those that have spheres.
    training
        What `training_clouds` returned; shapes that are not in it are named only.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 6.6))
    mapping = getattr(model.network, "mapping", None)
    top = 3 if mapping is not None else 2
    title = f"{lettered(found.name)}: {lettered(found.label)}, {found.probability:.1%}"
    if found.is_outside:
        title += f"\nunlike the training shapes (deviation {found.deviation:.1f}): to be doubted"
    figure.suptitle(title, fontsize=12)
    _draw_cloud(figure.add_subplot(2, top, 1, projection="3d"), found.points, "the cloud")
    if mapping is not None:
        points = scale_to_unit_ball(torch.from_numpy(found.points)[None]).to(next(mapping.buffers()).device)
        if getattr(model.network, "pose", "none") != "none":
            points = posed(points)
        features = mapping(points).sum(dim=(2, 3)).cpu()
        axes = figure.add_subplot(2, top, 2, projection="3d")
        draw_features(torch.log1p(features), axes, on="vertices")
        axes.set_title(f"its features on {len(features)} spheres", fontsize=10)
    bars = figure.add_subplot(2, top, top)
    labels, shares = zip(*found.top(), strict=True)
    bars.barh([lettered(name) for name in labels], shares, color="#0b6e99")
    bars.invert_yaxis()
    bars.set(xlim=(0, 1), xlabel="probability")
    bars.set_title("the answer", fontsize=10)
    for place, neighbour in enumerate(found.nearest):
        text = f"{lettered(neighbour.name)}\n({lettered(neighbour.label)}, distance {neighbour.distance:.1f})"
        axes = figure.add_subplot(2, 3, 4 + place, projection="3d")
        _draw_cloud(axes, (training or {}).get(neighbour.name), text)
    if found.nearest:
        figure.text(0.5, 0.46, "the nearest training shapes", ha="center", fontsize=10)
    figure.subplots_adjust(left=0.04, right=0.97, bottom=0.03, top=0.88, wspace=0.25, hspace=0.35)
    return figure


def _draw_cloud(axes: Axes3D, points: Points | None, title: str) -> None:
    if points is not None:
        draw_cloud(points, axes, size=8)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
