"""The trained weights that come with the package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csgnn_dgl.models.base import read_checkpoint
from csgnn_dgl.models.places import FOLDER


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights that come with the package.

    Attributes
    ----------
    name
        What `from_pretrained` and the programs take.
    task, model
        What they are for, and the name of the model in its registry.
    title
        What they were trained on, in few words.
    path, card
        The checkpoint, and the page that says how it came about and what it is worth.
    """

    name: str
    task: str
    model: str
    title: str
    path: Path
    card: Path

    def __str__(self) -> str:
        return f"{self.name}: {self.title} ({self.task}, {self.model}, {self.path.stat().st_size / 1e6:.1f} MB)"

    @property
    def details(self) -> Mapping[str, Any]:
        """What was measured of them, as plain values; the card says the same in words."""
        return read_checkpoint(self.path).get("published", {}).get("measured", {})


def pretrained() -> list[Weights]:
    """List the weights that come with the package.

    Returns
    -------
    list of Weights
        In the order of their names.

    Examples
    --------
    >>> [weights.name for weights in csgnn_dgl.pretrained()]  # doctest: +ELLIPSIS
    ['builtin-small', 'dos'...]
    """
    return [_described(path) for path in sorted(FOLDER.glob("*.ckpt"))]


def _described(path: Path) -> Weights:
    checkpoint = read_checkpoint(path)
    description = checkpoint["csgnn"]
    title = checkpoint.get("published", {}).get("title") or f"trained on {description['training']['source']}"
    return Weights(path.stem, description["task"], description["model"], title, path, path.with_suffix(".md"))
