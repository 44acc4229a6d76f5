"""What the forms of every layer share: their names, which of them can run, and checks of the features."""

from typing import Literal, get_args

import torch
from torch import Tensor

from csgnn_dgl._compilers import asked_once
from csgnn_dgl.nn.ops import library
from csgnn_dgl.nn.ops.registry import computes_itself, transformed

Form = Literal["auto", "compiled", "fast", "reference"]
"""How a layer computes; all forms compute the same.

``"reference"``: DGL message passing over the graph's edges. ``"fast"``: matrix products and sums over tables in torch,
without dgl, on any device. ``"compiled"``: C++ kernels on the CPU. ``"auto"``: compiled where that can be, else fast,
else (radial edges that were edited) reference.

Gradients of any order are right in all forms. The transforms of ``torch.func``, forward-mode derivatives,
``torch.export`` and ``torch.jit.trace`` take auto and fast."""


def check_form(form: Form) -> Form:
    """Return `form` or raise ValueError."""
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}, not {form!r}")
    return form


def takes_kernels(form: Form, features: Tensor, weight: Tensor | None = None) -> bool:
    """Say whether a layer of this form uses the kernels for these features.

    Raises
    ------
    ValueError
        If it must and cannot.
    """
    if form not in ("auto", "compiled"):
        return False
    if form == "compiled" and transformed():
        raise ValueError(
            "form='compiled' cannot be exported, traced by torch.jit, transformed by torch.func or differentiated "
            "forward; use form='auto' or 'fast'"
        )
    if not transformed() and fit(features, weight):
        return True
    if form == "compiled":
        raise ValueError(
            "form='compiled' needs g++, CSGNN_KERNELS not off, and features and weights on the CPU that are not empty "
            "and both float32 or both float64, or under autocast to bfloat16, got "
            f"{features.dtype} {tuple(features.shape)} on {features.device}; use form='auto'"
        )
    return False


def fit(features: Tensor, weight: Tensor | None = None) -> bool:
    """Whether the kernels take these features, and weights of a layer, as they are and under autocast as it is."""
    stored = library.storage(features.dtype)
    return (
        features.device.type == "cpu"
        and features.numel() > 0
        and stored in (torch.float32, torch.float64, torch.bfloat16)
        and (weight is None or weight.dtype == library.computed(stored))
        and (weight is None or weight.dtype == features.dtype or torch.is_autocast_enabled("cpu"))
        and _available(stored)
    )


@asked_once
def _available(stored: torch.dtype) -> bool:
    return library.available(stored)


def refers(form: Form, features: Tensor) -> bool:
    """Say whether a layer of this form sends messages with DGL. Where there are no features, torch does as well.

    Raises
    ------
    ValueError
        If it must and cannot.
    """
    if form != "reference":
        return False
    if transformed() or computes_itself(features):
        raise ValueError(
            "form='reference' sends messages with DGL, which torch can neither trace nor transform nor differentiate "
            "forward; use form='auto' or 'fast'"
        )
    if features.dtype == torch.float16 and features.device.type == "cpu":
        raise ValueError("form='reference' has no float16 on the CPU, since DGL has none; use form='auto' or bfloat16")
    return features.numel() > 0


def check_features(features: Tensor, num_nodes: int, num_spheres: int, channels: int | None = None) -> Tensor:
    """Return features (R, V, B, C), or raise ValueError saying what was expected.

    Node features (R·V, B, C), as they stand in a DGL graph, are the same memory and are accepted as well.
    """
    if features.dim() == 3 and len(features) == num_nodes:
        features = features.unflatten(0, (num_spheres, -1))
    grid = (num_spheres, num_nodes // num_spheres)
    if features.dim() != 4 or features.shape[:2] != grid or channels not in (None, features.shape[-1]):
        wanted = f"({grid[0]}, {grid[1]}, B, {'C' if channels is None else channels})"
        raise ValueError(
            f"features of shape (R, V, B, C) = {wanted} expected, got {tuple(features.shape)}; "
            "R and V must be those of the graph"
        )
    return features


def check_dtypes(features: Tensor, weight: Tensor) -> None:
    """Raise ValueError unless features and weights have one dtype, or autocast sees to it."""
    if features.dtype != weight.dtype and not torch.is_autocast_enabled(features.device.type):
        raise ValueError(
            f"the features are {features.dtype} and the weights {weight.dtype}; convert one of them, "
            "as with features.to(layer.weight.dtype), or compute under torch.autocast"
        )
