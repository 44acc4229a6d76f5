"""Reading a checkpoint's description of its network, and saying plainly why one does not fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from csgnn_dgl.errors import InputError

FORMAT = 2


def plain(value: Any) -> Any:
    """Turn nested mappings and sequences into dicts and lists of str, int, float, bool and None.

    Such values are all that ``torch.load(weights_only=True)`` and JSON need to know.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "item"):
        return value.item()
    return str(value)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint on the CPU without unpickling anything but tensors and plain values.

    Raises
    ------
    InputError
        If there is no such file, if it is no checkpoint, or not one of this package.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file}: there is no such checkpoint; give the path of a .ckpt file or of a run folder")
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{file} cannot be read as a checkpoint ({type(error).__name__}); it is damaged or of another program, "
            "give another one"
        ) from error
    description = checkpoint.get("csgnn") if isinstance(checkpoint, dict) else None
    if not isinstance(description, dict) or "state_dict" not in checkpoint or "config" not in description:
        raise InputError(f"{file} holds no csgnn_dgl model; give a checkpoint written by this package's fit")
    if description.get("format") != FORMAT:
        raise InputError(
            f"{file} has format {description.get('format')!r} and this version reads {FORMAT}; "
            "use the version that wrote it"
        )
    return checkpoint


def check_fits(
    path: str | os.PathLike[str],
    checkpoint: Mapping[str, Any],
    config: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    ignore: Sequence[str] = ("form", "dropout", "recompute", "chunk"),
) -> None:
    """Make sure that a checkpoint belongs to a network of this config and to these classes.

    Parameters
    ----------
    path
        Where the checkpoint came from, for the message.
    checkpoint
        What `read_checkpoint` returned.
    config
        The network's own ``config``.
    class_names
        Classes of the data in the order of their labels; None skips the comparison.
    ignore
        Keys of the config that may differ, as they change no weight and no prediction.

    Raises
    ------
    InputError
        If an entry of the config or the classes differ: all of them are named with both values.
    """
    description = checkpoint["csgnn"]
    stored, wanted = description["config"], plain(config)
    differing = [
        f"{key} = {stored.get(key)!r} in the file and {wanted.get(key)!r} here"
        for key in sorted({*stored, *wanted} - {*ignore})
        if stored.get(key) != wanted.get(key)
    ]
    if differing:
        raise InputError(
            f"{path} is a checkpoint of another architecture ({'; '.join(differing)}); "
            "leave model.network out of the options, or give the checkpoint's own config"
        )
    names = description.get("class_names")
    if class_names is not None and names is not None and list(names) != list(class_names):
        raise InputError(
            f"{path} was trained on other classes ({_abbreviate(names)}) than those of the data "
            f"({_abbreviate(class_names)}); give the data it was trained for with --data.source"
        )


def _abbreviate(names: Sequence[str]) -> str:
    shown = ", ".join(str(name) for name in names[:3])
    return f"{len(names)}: {shown}{', ...' if len(names) > 3 else ''}"


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
