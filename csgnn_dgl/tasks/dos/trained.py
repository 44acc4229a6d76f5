"""Trained models of the DOS, read from checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.models import DOS_MODELS, DOSModel
from csgnn_dgl.models.base import Place, checkpoint_file, epochs_of, read_checkpoint
from csgnn_dgl.notes import note
from csgnn_dgl.tasks.dos.domain import TrainingDomain

SHIPPED = "dos.ckpt"
"""Name of the weights in ``csgnn_dgl/weights``."""


@dataclasses.dataclass(frozen=True)
class TrainedDOS:
    """A model of the DOS with the energy bins that it predicts, and what is known about its training.

    Parameters
    ----------
    network
        The model; evaluation mode is switched on.
    grid
        Its energy bins.
    data
        What its data were and how they were read: source, grid, offset, valences, holdout; plain values.
    facts
        How it was trained: plain values.
    domain
        What the environments of its training were like, if that is known.

    Raises
    ------
    InputError
        If the network predicts another number of bins.
    """

    network: DOSModel
    grid: EnergyGrid = PAPER_GRID
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    domain: TrainingDomain | None = None

    def __post_init__(self) -> None:
        if self.network.num_bins != self.grid.count:
            raise InputError(
                f"the model predicts {self.network.num_bins} energy bins and the grid has {self.grid.count}; give the "
                "grid that it was trained with"
            )
        self.network.eval()

    @property
    def valences(self) -> dict[str, float] | None:
        """Electrons per atom by chemical symbol, where they were told."""
        return self.data.get("valences")


def load_dos_model(path: Place | None = None, map_location: str | torch.device = "cpu") -> TrainedDOS:
    """Load a trained model of the DOS.

    Parameters
    ----------
    path
        A checkpoint that ``python -m pipelines.dos fit`` wrote, or a run folder (its best checkpoint). By default the
        weights that come with the package. Nothing in it is unpickled but tensors and plain values.
    map_location
        Device of the weights.

    Returns
    -------
    TrainedDOS
        The model in evaluation mode, with the energy grid and the elements that it was trained for.

    Raises
    ------
    InputError
        If the file is missing, unreadable, or the checkpoint of something else.
    """
    if path is None:
        shipped = Path(str(files("csgnn_dgl"))) / "weights" / SHIPPED
        if not shipped.is_file():
            raise InputError("no weights come with this installation; name a checkpoint or run folder")
        path = shipped
    file = checkpoint_file(path)
    checkpoint = read_checkpoint(file)
    network = DOS_MODELS.restore(checkpoint, file, map_location)
    description = checkpoint["csgnn"]
    try:
        data = description["data"]
        grid = EnergyGrid(**data["grid"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} says no energy bins; use the version that wrote it") from error
    domain = None
    if "environments" not in checkpoint:
        note(
            file, "does not say what it was trained on, so that nothing tells structures of another kind; train it anew"
        )
    else:
        try:
            domain = TrainingDomain.restored(checkpoint["environments"])
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{file} has environments of another form ({error}); use the version that wrote it"
            ) from error
    facts = {
        "model": description["model"],
        "checkpoint": str(file),
        **epochs_of(checkpoint),
        **description.get("training", {}),
        "network": description["config"],
    }
    return TrainedDOS(network, grid, data, facts, domain)
