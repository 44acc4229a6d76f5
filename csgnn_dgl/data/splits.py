"""The parts of a data set: what is trained on, what drives the schedule, and what is tested on."""

from collections.abc import Collection
from typing import Literal

from csgnn_dgl.errors import InputError

Split = Literal["train", "val", "test"]

SPLITS: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}
"""Name of each split in files and options, and in words."""

CLOUD_SPLITS: tuple[Split, ...] = ("train", "test")
"""Splits of point clouds, whose validation shapes are held out of the training split."""


def check_split(split: str, known: Collection[str], source: object) -> None:
    """Raise InputError, beginning with `source`, unless `split` is one of the `known` ones."""
    if split not in known:
        *most, last = (repr(name) for name in known)
        raise InputError(f"{source}: split is {split!r}; give {', '.join(most)} or {last}.")
