"""Making weights for others out of a run: small, calibrated, with what their training was like and with a card."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import csgnn_dgl
from csgnn_dgl.data import CloudDataset, PointClouds, TestRotation
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import Place, epochs_of, plain, read_checkpoint, write_checkpoint
from csgnn_dgl.tasks.classification.calibration import Reliability, fit_temperature
from csgnn_dgl.tasks.classification.data import ModelNetData
from csgnn_dgl.tasks.classification.domain import ShapeDomain
from csgnn_dgl.tasks.classification.evaluation import Consistency, Score, measure_consistency, score
from csgnn_dgl.tasks.classification.task import TASK
from csgnn_dgl.tasks.classification.trained import TrainedClassifier
from csgnn_dgl.tasks.classification.unlike import COPIES, unlike_clouds
from csgnn_dgl.training import Run
from csgnn_dgl.training.config import config_of_checkpoint

LARGEST_HALF = 6e4
"""Weights beyond this are not kept in float16, which ends at 65,504."""


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of weights, on shapes that are turned as the name of each entry says.

    Attributes
    ----------
    validation
        Score of the validation shapes, which are turned as those of training.
    test
        Scores of the test shapes by rotation.
    temperature
        What the logits are divided by.
    errors
        Expected calibration error by set ("validation", or "test" and a rotation): without temperature, and with it.
    reliability
        Of the test shapes under the last rotation: without temperature, and with it.
    consistency
        How often answers survive rotations.
    outside
        Share of the test shapes under the last rotation, and of clouds that are no objects, that count as unlike the
        training shapes.
    counts
        Number of training, validation and test shapes.
    """

    validation: Score
    test: Mapping[str, Score]
    temperature: float
    errors: Mapping[str, tuple[float, float]]
    reliability: tuple[Reliability, Reliability]
    consistency: Consistency
    outside: tuple[float, float]
    counts: tuple[int, int, int]

    def values(self) -> dict[str, Any]:
        """Return the numbers as plain values."""
        return {
            "validation_accuracy": self.validation.accuracy,
            "test_accuracy": {rotation: found.accuracy for rotation, found in self.test.items()},
            "calibration_error": {name: after for name, (_, after) in self.errors.items()},
            "consistency": self.consistency.share,
            "unlike_test": self.outside[0],
            "unlike_no_objects": self.outside[1],
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Published:
    """Weights that were made, and what the card tells of them.

    Attributes
    ----------
    path
        The checkpoint.
    checkpoint
        Its content.
    measured
        What was measured.
    class_names
        The classes.
    options
        The options of the training, as far as they are not those of the program.
    history
        What was measured in each epoch.
    """

    path: Path
    checkpoint: Mapping[str, Any]
    measured: Measured
    class_names: tuple[str, ...]
    options: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]


def publish(
    run: Run | Place,
    name: str,
    folder: Place,
    title: str,
    map_location: str | torch.device = "cpu",
    source: str | None = None,
) -> Published:
    """Make weights of a finished run: ``NAME.ckpt`` in a folder.

    The weights are rounded to float16 (those of norms and biases are not), the logits calibrated on the validation
    shapes, and the training shapes kept as the network sees them. All is measured with the rounded weights.

    Parameters
    ----------
    run
        The run folder, whose best checkpoint is taken.
    name
        What `from_pretrained` is to call them: letters, digits and hyphens.
    folder
        Where to write; made if missing.
    title
        What they were trained on, in few words.
    map_location
        Where to compute.
    source
        Where the data of the run are; by default where they were.

    Raises
    ------
    InputError
        If the run or its data cannot be read, the name is no name, or there are such weights already.
    """
    target = target_of(name, folder)
    made = Run.at(run)
    checkpoint = read_checkpoint(made.best)
    given = config_of_checkpoint(made.best, TASK)
    place = {} if source is None else {"source": source}
    data = ModelNetData(**{**given["data"], "seed": given.get("seed_everything", 0), **place})
    stored = {key: halved(value) for key, value in checkpoint["state_dict"].items() if key.startswith("network.")}
    network = CLASSIFIERS.restore({**checkpoint, "state_dict": stored}, made.best, map_location)
    trained = TrainedClassifier(network, data.class_names, data.num_points)
    measured, domain = _measure(trained, data, map_location)
    description = _without_folders(checkpoint["csgnn"])
    content = {
        "csgnn": description,
        "state_dict": stored,
        "epoch": epochs_of(checkpoint)["epochs_trained"] - 1,
        "published": {
            "title": title,
            "version": csgnn_dgl.__version__,
            "temperature": measured.temperature,
            "domain": domain.stored(),
            "measured": plain(measured.values()),
        },
    }
    write_checkpoint(target, content)
    return Published(target, content, measured, data.class_names, _options(made), made.history)


def target_of(name: str, folder: Place) -> Path:
    """Return the file for weights of a name.

    Raises
    ------
    InputError
        If the name is no name, or there are such weights already.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name):
        raise InputError(f"{name!r} is no name for weights; give letters, digits and hyphens")
    target = Path(folder) / f"{name}.ckpt"
    if target.exists():
        raise InputError(f"{target} is there already; give another name, or remove it first")
    return target


def halved(weights: Tensor) -> Tensor:
    """Return weights in float16: those of a norm, of a bias, and too large ones stay as they are."""
    fits = weights.dim() > 1 and weights.is_floating_point() and float(weights.abs().max()) < LARGEST_HALF
    return weights.half() if fits else weights


def _measure(
    trained: TrainedClassifier, data: ModelNetData, device: str | torch.device
) -> tuple[Measured, ShapeDomain]:
    train, held_out, test = data.train_clouds, data.validation_clouds, data.test_clouds
    _, references = _answers(trained, train, data.train_rotation, data.seed)
    logits, embeddings = _answers(trained, held_out, data.train_rotation, data.seed)
    labels = torch.as_tensor(held_out.labels)
    temperature = fit_temperature(logits, labels)
    domain = ShapeDomain.of(references, torch.as_tensor(train.labels), train.names, embeddings)
    errors = {"validation": _errors(logits, labels, temperature)}
    validation = score(logits.softmax(dim=1), labels, data.train_rotation)
    scores: dict[str, Score] = {}
    truth = torch.as_tensor(test.labels)
    for rotation in data.test_rotations:
        logits, embeddings = _answers(trained, test, rotation, data.seed)
        scores[rotation] = score(logits.softmax(dim=1), truth, rotation)
        errors[f"test {rotation}"] = _errors(logits, truth, temperature)
    no_objects = PointClouds(unlike_clouds(data.num_points), np.zeros(10 * COPIES, dtype=np.int64), ("",))
    _, strange = _answers(trained, no_objects, "none", data.seed)
    outside = [float((domain.distances(found) > domain.limit).double().mean()) for found in (embeddings, strange)]
    measured = Measured(
        validation=validation,
        test=scores,
        temperature=temperature,
        errors=errors,
        reliability=(
            Reliability.of(logits.softmax(dim=1), truth),
            Reliability.of((logits / temperature).softmax(dim=1), truth),
        ),
        consistency=measure_consistency(trained.network, test, device),
        outside=(outside[0], outside[1]),
        counts=(len(train), len(held_out), len(test)),
    )
    return measured, domain


def _answers(trained: TrainedClassifier, clouds: PointClouds, rotation: str, seed: int) -> tuple[Tensor, Tensor]:
    """Return logits and embeddings of clouds that are turned as in validation and testing."""
    dataset = CloudDataset(clouds, TestRotation(rotation), seed)
    starts = range(0, len(clouds), 256)
    parts = [
        trained.answer(dataset.__getitems__(list(range(start, min(start + 256, len(clouds)))))["points"])
        for start in starts
    ]
    logits, embeddings = (torch.cat(found) for found in zip(*parts, strict=True))
    return logits, embeddings


def _errors(logits: Tensor, labels: Tensor, temperature: float) -> tuple[float, float]:
    before, after = (Reliability.of((logits / scale).softmax(dim=1), labels).error for scale in (1.0, temperature))
    return before, after


def _without_folders(value: Any) -> Any:
    """Return nested plain values in which the paths of files and folders are their names."""
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    outside = isinstance(value, str) and (os.path.isabs(value) or value.startswith(".."))
    return os.path.basename(os.path.normpath(value)) if outside else value


def _options(run: Run) -> dict[str, Any]:
    """Return the options of a run that are not those of the program."""
    import yaml

    from csgnn_dgl.training.config import parser_of

    parser = parser_of(TASK, "fit")
    usual = yaml.safe_load(parser.dump(parser.get_defaults(), skip_unset=False))
    chosen = {key: value for key, value in run.config.items() if key not in ("config", "name", "runs", "resume")}
    return _without_folders(_difference(chosen, usual))


def _difference(chosen: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in chosen.items():
        other = usual.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if inner := _difference(value, other):
                found[key] = inner
        elif value != other or key == "class_path":
            found[key] = value
    return found
