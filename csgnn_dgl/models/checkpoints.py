"""Networks made again from what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)

PREFIX = "network."
"""What the names of the network's weights begin with in a checkpoint's ``state_dict``."""


def network_of(checkpoint: Mapping[str, Any], kind: Callable[..., Network]) -> Network:
    """Make the network of a checkpoint, with its weights.

    Parameters
    ----------
    checkpoint
        With the network's ``config`` under ``"csgnn"`` and weights under ``"state_dict"``, others among them.
    kind
        The class of the network, which the config is given to.

    Returns
    -------
    torch.nn.Module
        The network, on the CPU and in training mode.

    Raises
    ------
    KeyError, TypeError, ValueError, RuntimeError
        If the checkpoint is of something else, for the caller to say of what.
    """
    network = kind(**checkpoint["csgnn"]["config"])
    weights = checkpoint["state_dict"].items()
    network.load_state_dict({name.removeprefix(PREFIX): value for name, value in weights if name.startswith(PREFIX)})
    return network
