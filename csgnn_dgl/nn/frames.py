"""Local reference frames of neighbourhoods: coordinates that turn with the points."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

PLANE = 1e-6
"""Distance from a plane, in the unit of the points, up to which an offset lies in it: roundings of float32."""


def local_frames(offsets: Tensor, outward: Tensor) -> tuple[Tensor, Tensor]:
    r"""Find the principal axes of neighbourhoods, in float64 and without gradients.

    With the offsets o of the K neighbours and their mean μ, the axes are the eigenvectors of
    :math:`\sum (o - \mu)(o - \mu)^T`, by descending eigenvalue. An axis e points to the side where more offsets lie,
    those in the plane through the centre counting on neither; where the sides are equal, to that of μ; where μ lies in
    the plane too, as for the normal of a flat neighbourhood, to that of `outward`. The determinant is +1 or -1.

    The axes turn with the points as long as the eigenvalues differ and one of the three rules decides. Where two
    eigenvalues are equal to rounding (points on a line, all in one place, or spread evenly), no axis is better than
    another: the ones returned are finite, orthonormal and the same at every call, and do not turn.

    Parameters
    ----------
    offsets
        (..., K, 3) offsets of neighbours from the centre of each neighbourhood, that of the centre itself among them.
    outward
        (..., 3) vectors that turn with the points, such as the centre's offset from the centroid.

    Returns
    -------
    tuple of torch.Tensor
        μ, (..., 3), and the axes, (..., 3, 3) with an axis in each column.
    """
    offsets, outward = offsets.detach().double(), outward.detach().double()
    mean = offsets.mean(dim=-2)
    centred = offsets - mean[..., None, :]
    axes = torch.linalg.eigh(centred.mT @ centred).eigenvectors.flip(-1)
    votes = hardshrink(offsets @ axes, PLANE).sign().sum(dim=-2)
    of_mean, of_outward = (torch.stack([mean, outward], dim=-2) @ axes).unbind(-2)
    side = torch.where(votes != 0, votes, torch.where(of_mean.abs() > PLANE, of_mean, of_outward))
    return mean, torch.where(side[..., None, :] < 0, -axes, axes)


def in_frames(offsets: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """Return the coordinates (o - μ)·E of offsets (..., K, 3) in frames of `local_frames`: (..., K, 3)."""
    mean, axes = mean.to(offsets.dtype), axes.to(offsets.dtype)
    return (offsets - mean[..., None, :]) @ axes
