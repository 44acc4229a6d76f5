"""Trained classifiers, read from weights that come with the package, checkpoints and run folders."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import Place, checkpoint_file, epochs_of, read_checkpoint
from csgnn_dgl.models.places import weights_file
from csgnn_dgl.notes import note
from csgnn_dgl.tasks.classification.domain import ShapeDomain

DEFAULT = "modelnet40-small"
"""Name of the weights that are used where none are named."""

BATCH = 32
"""Clouds per call of a network."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A classifier with its classes, and what is known about its training.

    Parameters
    ----------
    network
        Maps points (B, N, 3) to logits (B, classes); evaluation mode is switched on.
    class_names
        Its classes, or empty where they are not known: then they are counted.
    num_points
        Points of the clouds that it works with.
    temperature
        What the logits are divided by, fitted on validation shapes; None where that was not done.
    domain
        What the shapes of its training were like, if that is known.
    data
        What its data were and how they were read: plain values.
    facts
        How it was trained: plain values.
    """

    network: nn.Module
    class_names: tuple[str, ...] = ()
    num_points: int = 1024
    temperature: float | None = None
    domain: ShapeDomain | None = None
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.eval()

    def names(self, count: int) -> tuple[str, ...]:
        """Return the names of so many classes.

        Raises
        ------
        InputError
            If the network has another number of classes than names.
        """
        if self.class_names and len(self.class_names) != count:
            raise InputError(
                f"the classifier gives {count} logits and has {len(self.class_names)} classes; give one name for each"
            )
        return self.class_names or tuple(f"class {number}" for number in range(count))

    @torch.no_grad()
    def answer(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network says of clouds, and how it sees them.

        Parameters
        ----------
        points
            (B, N, 3), centred and scaled.

        Returns
        -------
        logits
            (B, classes) float64, on the CPU.
        embeddings
            (B, D) float64: the inputs of the last linear layer, or the logits where there is none.
        """
        device = next((own.device for own in self.network.parameters()), torch.device("cpu"))
        parts = [_embedded(self.network, batch.to(device)) for batch in points.split(BATCH)]
        logits, embeddings = (torch.cat(found).double().cpu() for found in zip(*parts, strict=True))
        return logits, embeddings

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return calibrated probabilities (B, classes) of logits (B, classes)."""
        return (logits / (self.temperature or 1.0)).softmax(dim=1)


def _embedded(network: nn.Module, points: Tensor) -> tuple[Tensor, Tensor]:
    inputs: dict[nn.Module, list[Tensor]] = {}  # in the order of their last calls

    def keep(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[layer] = [*inputs.pop(layer, []), given[0]]

    hooks = [layer.register_forward_pre_hook(keep) for layer in network.modules() if isinstance(layer, nn.Linear)]
    try:
        logits = network(points)
    finally:
        for hook in hooks:
            hook.remove()
    last = next((inputs[layer] for layer in reversed(inputs)), [logits])
    if any(part.dim() < 2 or len(part) != len(logits) for part in last):
        return logits, logits
    several = [part.reshape(len(part), -1, part.shape[-1]) for part in last]
    return logits, torch.cat(several, dim=1).mean(dim=1)  # of several answers to a cloud their mean


def load_classifier(place: Place | None = None, map_location: str | torch.device = "cpu") -> TrainedClassifier:
    """Load a trained classifier.

    Parameters
    ----------
    place
        The name of weights that come with the package, a checkpoint, or a run folder (its best checkpoint). By default
        `DEFAULT`. Nothing is unpickled but tensors and plain values, and nothing is imported: import the module of a
        model from elsewhere before.
    map_location
        Device of the weights.

    Raises
    ------
    InputError
        If the file is missing, unreadable, or the checkpoint of something else.
    """
    file = checkpoint_file(weights_file(DEFAULT if place is None else place))
    checkpoint = read_checkpoint(file)
    network = CLASSIFIERS.restore(checkpoint, file, map_location)
    description = checkpoint["csgnn"]
    temperature, domain = _published(checkpoint, file)
    data = description.get("data", {})
    return TrainedClassifier(
        network,
        tuple(description.get("class_names", ())),
        data.get("num_points") or description["config"].get("num_points") or 1024,
        temperature,
        domain,
        data,
        {"model": description["model"], **epochs_of(checkpoint), **description.get("training", {})},
    )


def _published(checkpoint: Mapping[str, Any], file: Path) -> tuple[float | None, ShapeDomain | None]:
    """Return the temperature and the training shapes of a checkpoint."""
    if "published" not in checkpoint:
        note(
            file,
            "its probabilities are not calibrated, and nothing tells shapes of another kind; `csgnn publish` makes "
            "weights that do both",
        )
        return None, None
    try:
        published = checkpoint["published"]
        temperature = float(published["temperature"])
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature {temperature}")
        domain = ShapeDomain.restored(published["domain"])
        if not 0 <= int(domain.labels.min()) <= int(domain.labels.max()) < len(checkpoint["csgnn"]["class_names"]):
            raise ValueError("training shapes of the model's classes expected")
        return temperature, domain
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file} has a calibration of another form ({error}); use the version that wrote it"
        ) from error
