"""Reference frames of clouds and neighbourhoods: coordinates that turn with the points."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

PLANE = 1e-6
"""Distance from a plane, in the unit of the points, up to which an offset lies in it: roundings of float32."""


TIED = 1e-6
"""Difference of two variances, as a share of the largest one, up to which they are equal: roundings of float32."""


def principal_moments(points: Tensor) -> Tensor:
    """Return the variances of clouds (B, N, 3) along their principal axes: (B, 3) float64, descending, no gradients."""
    return torch.linalg.eigvalsh(_covariances(points.detach())).flip(-1)


def principal_frames(points: Tensor) -> Tensor:
    r"""Find right-handed frames along the principal axes of clouds, by descending variance, in float64.

    The axes are the eigenvectors of :math:`\sum (x - \mu)(x - \mu)^T`. They have no direction: the frame is one of
    four, which differ by turns of 180° about an axis. Where variances are equal to rounding, the points decide: an
    axis goes towards the point that is farthest from the origin, or from the axis that is known. Where several points
    are equally far because a symmetry of the cloud maps them onto each other, any of them gives the same cloud in its
    frame.

    Gradients of any order are those of the eigenvectors; where variances are equal, these have none, and the frame
    is held fixed.

    Parameters
    ----------
    points
        (B, N, 3) positions.

    Returns
    -------
    torch.Tensor
        (B, 3, 3) float64 rotations with an axis in each column, so that ``points @ frames`` are the coordinates.
    """
    covariances = _covariances(points)
    with torch.no_grad():
        moments, axes = torch.linalg.eigh(covariances)
        least = TIED * moments[:, 2]
        high, low = moments[:, 2] - moments[:, 1] <= least, moments[:, 1] - moments[:, 0] <= least
        tied = high | low
        wide = points.double()
        far = _farthest(wide, torch.zeros_like(moments))
        known = torch.where((high & low)[:, None], far, torch.where(high[:, None], axes[..., 0], axes[..., 2]))
        across = _farthest(wide, known)
        third = torch.linalg.cross(known, across)
        last = torch.stack([across, third, known], dim=-1)  # the axis of least variance is known
        chosen = torch.where((high & ~low)[:, None, None], last, torch.stack([known, across, third], dim=-1))
    different = torch.diag(covariances.new_tensor([1.0, 2.0, 3.0]))  # has a gradient, which nothing asks for
    found = torch.linalg.eigh(torch.where(tied[:, None, None], different, covariances)).eigenvectors.flip(-1)
    found = torch.stack([found[..., 0], found[..., 1], torch.linalg.cross(found[..., 0], found[..., 1])], dim=-1)
    return torch.where(tied[:, None, None], chosen, found)


def _covariances(points: Tensor) -> Tensor:
    """Return the covariances (B, 3, 3) of clouds, in float64."""
    centred = points.double() - points.double().mean(dim=1, keepdim=True)
    return centred.mT @ centred / points.shape[1]


def _farthest(points: Tensor, axis: Tensor) -> Tensor:
    """Return unit vectors (B, 3) from an axis (B, 3) through the origin to the farthest points; from the origin for 0.

    Where all points lie on the axis, to rounding, any vector that is perpendicular to it.
    """
    across = points - (points @ axis[..., None]) * axis[:, None]
    squares = across.square().sum(dim=-1)
    best = squares.argmax(dim=1)[:, None]
    vector = across.gather(1, best[..., None].expand(-1, -1, 3)).squeeze(1)
    near = squares.gather(1, best).sqrt() <= TIED * points.square().sum(dim=-1).amax(dim=1, keepdim=True).sqrt()
    other = torch.nn.functional.one_hot(axis.abs().argmin(dim=-1), 3).to(axis)
    vector = torch.where(near, other - (other * axis).sum(dim=-1, keepdim=True) * axis, vector)
    return torch.nn.functional.normalize(vector, dim=-1, eps=0.0)


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
