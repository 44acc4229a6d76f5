"""Equivariance as a tool: exact tests under the 60 icosahedral rotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from csgnn_dgl.geometry.icosphere import level_of
from csgnn_dgl.geometry.rotations import icosahedral_rotations, vertex_permutations
from csgnn_dgl.graphs.levels import ConcentricLevel

Kind = Literal["points", "grid", "nodes", "invariant"]
Kinds = Kind | Sequence[Kind] | None

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
    module: Callable[..., Any],
    *inputs: Any,
    inputs_are: Kinds = None,
    outputs_are: Kinds = None,
    num_spheres: int | None = None,
    rotations: Sequence[int] = range(60),
    rtol: float | None = None,
    atol: float = 0.0,
) -> None:
    """Assert that a module commutes with the 60 icosahedral rotations: Φ(L_R h) = L_R Φ(h), Eq. 7.

    Parameters
    ----------
    module
        What to test; one that drops at random must be in evaluation mode.
    inputs
        What it is called with: points (B, N, 3), features on the grid (R, V, B, C), node features (R·V, B, C), also
        within tuples, lists and dicts. Other tensors and things, such as the graph, stay as they are.
    inputs_are, outputs_are
        What each tensor is, in order, or all of them: ``"points"``, ``"grid"``, ``"nodes"`` or ``"invariant"``. By
        default told from the shapes: four axes whose second is a level's number of vertices are a grid; three whose
        first is `num_spheres` times such a number are nodes; three that end in 3 are points; the rest is invariant.
    num_spheres
        Number of spheres R of node features; by default that of the graph among the inputs.
    rotations
        Which of the 60 to test.
    rtol, atol
        Tolerances, relative to how much the output varies with the input, and absolute; rtol is by default 1e-10 for
        float64, 1e-4 for float32. Rounding of the output, 8 units in the last place of the largest, is always allowed.

    Raises
    ------
    AssertionError
        If outputs differ, naming the rotation and the difference.
    ValueError
        If no input turns with the rotation, or the module gives something else at a second call, no tensor, or numbers
        that are not finite.

    Examples
    --------
    >>> level = ConcentricGrid(level=1, num_spheres=3).levels[1]
    >>> assert_equivariant(IntraSphereConv(4, 8), level, torch.randn(3, 42, 2, 4))
    >>> assert_equivariant(lambda h: torch.relu(h - h.mean(dim=1, keepdim=True)), torch.randn(3, 42, 2, 4))
    """
    leaves, layout = pytree.tree_flatten(inputs)
    spheres = num_spheres or next(filter(None, map(_spheres_of, leaves)), None)
    kinds = _kinds(leaves, inputs_are, spheres)
    if spheres is None and set(kinds) <= {"nodes", "invariant"}:
        spheres = _only_possible_spheres(leaves)
        kinds = _kinds(leaves, inputs_are, spheres)
    if set(kinds) == {"invariant"} or ("nodes" in kinds and spheres is None):
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor))
        raise ValueError(
            f"inputs of shape {shapes} are neither points nor features on a grid; name them with inputs_are, and "
            "num_spheres for node features"
        )

    def outputs(change: Callable[[Any, str], Any]) -> dict[str, Tensor]:
        changed = [change(leaf, kind) for leaf, kind in zip(leaves, kinds, strict=True)]
        found = pytree.tree_flatten_with_path(module(*pytree.tree_unflatten(changed, layout)))[0]
        return {f"outputs{pytree.keystr(path)}": leaf for path, leaf in found if isinstance(leaf, Tensor)}

    def same(leaf: Any, kind: str) -> Any:
        return leaf

    with torch.no_grad():
        expected = outputs(same)
        if not expected or not all(values.isfinite().all() for values in expected.values()):
            raise ValueError("the module's output is not finite, so nothing can be said of its equivariance")
        out_kinds = _kinds(list(expected.values()), outputs_are, spheres if "nodes" in kinds else num_spheres)
        allowed = _allowed(expected, outputs(_varied), rtol, atol)
        for index in rotations:
            turn = partial(_rotated, index=index, num_spheres=spheres)
            got = outputs(turn)
            for kind, (name, values) in zip(out_kinds, expected.items(), strict=True):
                difference = _difference(got[name], turn(values, kind))
                if difference <= allowed[name]:
                    continue
                for first, change in ((expected, same), (got, turn)):
                    if not _difference(outputs(change)[name], first[name]) <= allowed[name]:
                        mode = " in training mode" if getattr(module, "training", False) else ""
                        raise ValueError(
                            f"the module{mode} is not deterministic: a second call with the same inputs gives other "
                            f"{name}; switch off what it draws at random or keeps, as module.eval() does"
                        )
                raise AssertionError(
                    f"not equivariant under icosahedral rotation {index}: {name} differ by {difference:.3g}, "
                    f"{allowed[name]:.3g} is allowed (largest {_largest(values):.3g}, taken as {kind})"
                )


def _allowed(
    expected: dict[str, Tensor], others: dict[str, Tensor], rtol: float | None, atol: float
) -> dict[str, float]:
    """Return how much each output may differ, from how much it varies with the input."""
    allowed = {}
    for name, values in expected.items():
        size, share = _largest(values), _TOLERANCES.get(values.dtype, 1e-2) if rtol is None else rtol
        rounding = 8 * torch.finfo(values.dtype).eps if values.is_floating_point() else 0.0
        allowed[name] = share * min(size, _difference(others[name], values)) + rounding * size + atol
    return allowed


def _difference(values: Tensor, others: Tensor) -> float:
    if values.shape != others.shape:
        return float("inf")
    return _largest(values.double() - others.double())


def _largest(values: Tensor) -> float:
    return float(values.double().abs().max()) if values.numel() else 0.0


def _varied(values: Any, kind: str) -> Any:
    """Return inputs of the same kind, within the unit ball if these are, that no rotation makes of them."""
    if kind == "invariant" or not values.is_floating_point():
        return values
    if kind == "points":
        return values * values.new_tensor([1.0, 0.7, 0.4])
    factors = torch.rand(values.shape, generator=torch.Generator().manual_seed(0))
    return values * (0.5 + factors.to(values))


def _rotated(values: Any, kind: str, index: int, num_spheres: int | None) -> Any:
    if kind == "points":
        return rotate_points(values, icosahedral_rotations()[index])
    if kind == "nodes":
        return rotate_grid(values.unflatten(0, (num_spheres, -1)), index).flatten(0, 1)
    return rotate_grid(values, index) if kind == "grid" else values


def _kinds(leaves: Sequence[Any], told: Kinds, num_spheres: int | None) -> list[str]:
    """Return what each leaf is; "invariant" for what is no tensor."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if isinstance(told, str):
        told = [told] * len(tensors)
    kinds = [_kind_of(tensor, num_spheres) for tensor in tensors] if told is None else list(told)
    if len(kinds) != len(tensors):
        raise ValueError(f"{len(kinds)} kinds are told of {len(tensors)} tensors; tell one for each, or one for all")
    found = iter(kinds)
    return [next(found) if isinstance(leaf, Tensor) else "invariant" for leaf in leaves]


def _kind_of(values: Tensor, num_spheres: int | None) -> Kind:
    if values.dim() == 4 and 1 in _possible_spheres(values.shape[1]):
        return "grid"
    if values.dim() == 3 and num_spheres in _possible_spheres(len(values)):
        return "nodes"
    return "points" if values.dim() == 3 and values.shape[-1] == 3 else "invariant"


def _spheres_of(value: Any) -> int | None:
    """Return the number of spheres of a graph, None of anything else."""
    if "intra" in getattr(value, "etypes", ()):
        value = ConcentricLevel.of(value)
    return getattr(value, "num_spheres", None)


def _possible_spheres(num_nodes: int) -> set[int]:
    """Return the numbers of concentric icospheres that can have so many nodes together."""
    counts = (10 * 4**level + 2 for level in range(num_nodes.bit_length()))
    return {num_nodes // count for count in counts if num_nodes and num_nodes % count == 0}


def _only_possible_spheres(leaves: Sequence[Any]) -> int | None:
    counts = [len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim() == 3]
    possible = set.intersection(*map(_possible_spheres, counts)) if counts else set()
    return possible.pop() if len(possible) == 1 else None
