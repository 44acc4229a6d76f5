"""A pose for every cloud: turned so that its principal axes lie along x, y and z, however it came."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from csgnn_dgl.models.base import Symmetry
from csgnn_dgl.nn.frames import principal_frames, principal_moments
from csgnn_dgl.nn.moments import num_processes

Pose = Literal["none", "principal", "principal24"]
"""How clouds are turned before a network sees them."""


@cache
def turns(pose: Pose, symmetry: Symmetry) -> np.ndarray:
    """Return the rotations of the posed cloud whose answers have to be averaged.

    The axes of a cloud have no direction, so that four right-handed frames lie along them; where their order is not
    kept either ("principal24"), 24, the rotations of a cube. Of those that the network's own symmetry covers, one is
    enough: the four flips, and half of the 24, are among the 60 rotations of the icosahedron.

    Parameters
    ----------
    pose
        "principal" or "principal24".
    symmetry
        Rotations under which the network gives the same answer.

    Returns
    -------
    numpy.ndarray
        (P, 3, 3) rotations, the identity first.
    """
    if symmetry == "SO3":
        return np.eye(3)[None]
    orders = list(itertools.permutations(range(3))) if pose == "principal24" else [(0, 1, 2)]
    if symmetry == "icosahedral":
        even = np.eye(3)[None]
        odd = np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
        return np.concatenate([even, odd]) if pose == "principal24" else even
    signed = [
        np.diag(signs) @ np.eye(3)[list(order)]
        for order in orders
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]
    return np.array([rotation for rotation in signed if np.linalg.det(rotation) > 0])


def posed(points: Tensor) -> Tensor:
    """Turn clouds so that their principal axes lie along x, y and z, by descending variance.

    Parameters
    ----------
    points
        (B, N, 3) positions, any unit of length.

    Returns
    -------
    torch.Tensor
        (B, N, 3) turned about the origin; float64 for float64, else float32.
    """
    return _turned(points, principal_frames(points))


def posed_for_training(points: Tensor, rotations: Tensor) -> Tensor:
    """Pose clouds as well as their axes are known, and turn each by one of some rotations.

    From N points drawn of a surface an axis i is found up to an angle towards axis j of standard deviation
    √(λᵢ λⱼ / N) / |λᵢ - λⱼ| (the asymptotic error of principal axes), with the variances λ along the axes. Each frame
    is turned by such random angles, 180° at most: a network learns not to trust an axis that the next sample of the
    same shape would have elsewhere. All processes that train together draw for the batch of all, as
    :class:`~csgnn_dgl.nn.dropout.SharedDropout` does.

    Parameters
    ----------
    points
        (B, N, 3) positions.
    rotations
        (P, 3, 3) rotations, of which one is drawn for each cloud.

    Returns
    -------
    torch.Tensor
        (B, N, 3), as from `posed`.
    """
    everyone = num_processes() * len(points)
    own = slice(dist.get_rank() if num_processes() > 1 else 0, None, num_processes())
    draws = torch.randn(everyone, 3, dtype=torch.float64, device=points.device)[own]
    drawn = torch.randint(len(rotations), (everyone,), device=points.device)[own]
    first, second = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    moments = principal_moments(points)
    one, other = moments[:, first], moments[:, second]
    spread = (one * other / points.shape[1]).sqrt() / (one - other).abs().clamp_min(torch.finfo(moments.dtype).tiny)
    angles = draws * spread.clamp_max(math.pi)
    generator = angles.new_zeros(len(points), 3, 3)
    generator[:, first, second], generator[:, second, first] = -angles, angles
    frames = principal_frames(points) @ torch.linalg.matrix_exp(generator)
    return _turned(points, frames @ rotations.to(frames).mT[drawn])


def _turned(points: Tensor, frames: Tensor) -> Tensor:
    dtype = torch.promote_types(points.dtype, torch.float32)
    return (points.double() @ frames).to(dtype)


def check_pose(pose: str) -> None:
    """Raise ValueError unless it is a pose."""
    if pose not in get_args(Pose):
        raise ValueError(f"pose must be one of {', '.join(get_args(Pose))}, not {pose!r}")
