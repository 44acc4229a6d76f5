"""Equivariance as a tool: exact tests under the 60 icosahedral rotations, and measured errors under any rotation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.geometry.icosphere import level_of
from csgnn_dgl.geometry.rotations import icosahedral_rotations, vertex_permutations

Kind = Literal["points", "grid", "invariant"]


_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}


def rotate_points(points: Tensor, rotation: np.ndarray) -> Tensor:
    """Rotate positions.

    Parameters
    ----------
    points
        (..., 3) positions.
    rotation
        (3, 3) rotation matrix.

    Returns
    -------
    torch.Tensor
        (..., 3) positions R x.
    """
    matrix = torch.as_tensor(np.array(rotation), dtype=points.dtype, device=points.device)
    return points @ matrix.T


def rotate_grid(features: Tensor, rotation_index: int) -> Tensor:
    """Rotate features on the grid by one of the 60 rotations: [L_R h](x) = h(R⁻¹x), Eq. 6.

    Parameters
    ----------
    features
        (R, V, ...) features, V being the number of vertices of any level.
    rotation_index
        Position g in :func:`csgnn_dgl.icosahedral_rotations`.

    Returns
    -------
    torch.Tensor
        (R, V, ...): the feature of vertex j stands at vertex R_g v_j.

    Raises
    ------
    ValueError
        If V is no level's number of vertices.
    """
    permutation = torch.from_numpy(vertex_permutations(level_of(features.shape[1]))[rotation_index].copy())
    result = torch.empty_like(features)
    result[:, permutation.to(features.device)] = features
    return result


def assert_equivariant(
    module: Callable[[Tensor], Tensor],
    inputs: Tensor,
    *,
    inputs_are: Kind | None = None,
    outputs_are: Kind | None = None,
    rotations: Sequence[int] = range(60),
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Assert that a module commutes with the 60 icosahedral rotations: Φ(L_R h) = L_R Φ(h), Eq. 7.

    For layers that take a graph, bind it: ``assert_equivariant(lambda h: conv(graph, h), features)``.

    Parameters
    ----------
    module
        What to test. A ``torch.nn.Module`` must be in evaluation mode if it drops at random.
    inputs
        Points (B, N, 3) or features on the grid (R, V, B, C).
    inputs_are, outputs_are
        ``"points"``, ``"grid"`` or ``"invariant"``; by default told from the shapes: three axes ending in 3 are
        points, four axes whose second is a level's number of vertices are a grid, anything else is invariant.
    rotations
        Which of the 60 to test.
    rtol, atol
        Tolerances relative to the largest output, and absolute; by default 1e-10 for float64, 1e-4 for float32
        as rtol and 0 as atol.

    Raises
    ------
    AssertionError
        If outputs differ, naming the rotation and the difference.
    ValueError
        If the inputs are of no known kind or the module's output is not finite.

    Examples
    --------
    >>> graph = concentric_heterograph(level=1, num_spheres=3)
    >>> conv = IntraSphereConv(4, 8)
    >>> assert_equivariant(lambda h: conv(graph, h), torch.randn(3, 42, 2, 4))
    """
    inputs_are = inputs_are or _kind_of(inputs)
    if inputs_are == "invariant":
        raise ValueError(f"inputs of shape {tuple(inputs.shape)} are neither points nor features on a grid")
    with torch.no_grad():
        expected = module(inputs)
        if not torch.isfinite(expected).all():
            raise ValueError("the module's output is not finite, so nothing can be said of its equivariance")
        outputs_are = outputs_are or _kind_of(expected)
        scale = float(expected.abs().max())
        rtol = _TOLERANCES.get(expected.dtype, 1e-2) if rtol is None else rtol
        allowed = rtol * scale + (0.0 if atol is None else atol)
        for index in rotations:
            got = module(_rotated(inputs, inputs_are, index))
            difference = float((got - _rotated(expected, outputs_are, index)).abs().max())
            if not difference <= allowed:
                raise AssertionError(
                    f"not equivariant under icosahedral rotation {index}: outputs differ by {difference:.3g}, "
                    f"{allowed:.3g} is allowed (largest output {scale:.3g}, taken as {outputs_are})"
                )


def _rotated(values: Tensor, kind: Any, index: int) -> Tensor:
    if kind == "points":
        return rotate_points(values, icosahedral_rotations()[index])
    return rotate_grid(values, index) if kind == "grid" else values


def _kind_of(values: Tensor) -> Kind:
    if values.dim() == 3 and values.shape[-1] == 3:
        return "points"
    if values.dim() == 4 and _is_vertex_count(values.shape[1]):
        return "grid"
    return "invariant"


def _is_vertex_count(count: int) -> bool:
    try:
        level_of(count)
    except ValueError:
        return False
    return True
