"""Classifiers by what a user calls them: a short name, an import path, a run folder or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from csgnn_dgl.errors import InputError, reason
from csgnn_dgl.models import CLASSIFIERS
from csgnn_dgl.models.base import checkpoint_file, read_checkpoint
from csgnn_dgl.models.trust import imported
from csgnn_dgl.tasks.classification.audit import Classify
from csgnn_dgl.tasks.classification.data import PROTOCOLS, Validation
from csgnn_dgl.tasks.classification.task import TASK
from csgnn_dgl.training.config import config_of_checkpoint


@dataclass(frozen=True)
class Subject:
    """A classifier that can be made once the number of classes is known.

    Attributes
    ----------
    name
        What it is called.
    kind
        What is known of its weights, for people.
    make
        Returns the classifier, from the number of classes.
    trained
        Whether its answers mean anything.
    class_names
        The classes of its logits, or empty where they are not known.
    data
        Options of the data that it was trained on, as far as they are known.
    num_points
        Number of points of the clouds it works with, or None where any will do.
    validation
        What picked its weights, or None where that is not known.
    """

    name: str
    kind: Literal["untrained", "trained", "as it is"]
    make: Callable[[int], Classify]
    class_names: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    num_points: int | None = None
    validation: Validation | None = None

    @property
    def trained(self) -> bool:
        """Whether its answers mean anything."""
        return self.kind != "untrained"


def find_subject(word: str, full: bool = False, seed: int = 0) -> Subject:
    """Find a classifier.

    Parameters
    ----------
    word
        A short name, as ``csgnn``; an import path of a class, a module or a function, as ``mine.PointNet`` or
        ``mine:function``; a run folder or a checkpoint.
    full
        Whether a class is made with its defaults, where it has smaller arguments for trying it (``tiny``).
    seed
        Seed of the weights of a class.

    Raises
    ------
    InputError
        If there is none.
    """
    if word in CLASSIFIERS:
        return _of_class(word, CLASSIFIERS[word], full, seed)
    if Path(word).exists() or word.endswith(".ckpt"):
        return _of_checkpoint(Path(word))
    if not {".", ":"} & set(word):
        raise InputError(
            f"{word!r} is no classifier; give one of {', '.join(CLASSIFIERS)}, an import path as mine.PointNet or "
            "mine:function, a run folder or a checkpoint"
        )
    found = imported(word)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return _of_class(word, found, full, seed)
    if not callable(found) or isinstance(found, type):
        raise InputError(f"{word!r} is {found!r}; give a function or module that maps points (B, N, 3) to logits")
    return Subject(word, "as it is", lambda _: found)


def _of_class(name: str, kind: type[nn.Module], full: bool, seed: int) -> Subject:
    config = {} if full else dict(getattr(kind, "tiny", {}))

    def make(num_classes: int) -> Classify:
        torch.manual_seed(seed)
        try:
            return CLASSIFIERS.build(kind, **{**config, "num_classes": num_classes})
        except TypeError as error:
            raise InputError(f"{name} cannot be made ({reason(error)}); let its arguments have defaults") from error

    return Subject(name, "untrained", make, num_points=config.get("num_points"))


def _of_checkpoint(place: Path) -> Subject:
    file = checkpoint_file(place)
    data = config_of_checkpoint(place, TASK).get("data", {})  # imports what the run may import
    checkpoint = read_checkpoint(file)
    description = checkpoint["csgnn"]
    protocol = description.get("training", {}).get("validation")
    validation: Any = next((name for name, text in PROTOCOLS.items() if text == protocol), data.get("validation"))
    return Subject(
        str(place),
        "trained",
        lambda _: CLASSIFIERS.restore(checkpoint, file),
        class_names=tuple(description.get("class_names", ())),
        data={**description.get("data", {}), **data},
        num_points=data.get("num_points") or description["config"].get("num_points"),
        validation=validation,
    )
