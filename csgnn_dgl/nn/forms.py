"""What the two forms of every layer share: their names, checks of the features, and operands under autocast."""

from typing import Literal, get_args

import torch
from torch import Tensor

from csgnn_dgl.nn.ops import library

Form = Literal["auto", "compiled", "fast", "reference"]
"""``"reference"``: DGL message passing. ``"fast"``: matrix products and sums over tables in torch, without dgl, on any
device. ``"compiled"``: C++ kernels on the CPU. ``"auto"``: the quickest that computes what the
graph says: compiled where that can be, else fast."""


def check_form(form: Form) -> Form:
    """Return `form` or raise ValueError."""
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}, not {form!r}")
    return form


def takes_compiled(form: Form, features: Tensor, weight: Tensor | None = None) -> bool:
    """Say whether a layer of this form runs compiled on these features.

    Raises
    ------
    ValueError
        If it must and cannot.
    """
    if form not in ("auto", "compiled"):
        return False
    if library.fit(features, weight):
        return True
    if form == "compiled":
        raise ValueError(
            "form='compiled' needs g++, CSGNN_KERNELS not off, and features and weights on the CPU that are both "
            f"float32 or both float64, or under autocast to bfloat16, got {features.dtype} on {features.device}; "
            "use form='auto'"
        )
    return False


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


def autocast_operands(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the operands of a matrix product in the type that autocast asks for on their device, if it is on."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(tensor.to(dtype) if tensor.dtype != torch.float64 else tensor for tensor in tensors)
