"""Reference frames of clouds and neighbourhoods: coordinates that turn with the points."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink

from csgnn_dgl.geometry import icosahedral_rotations

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


REACH = 0.7
"""Width in Å of the Gaussian that weighs the neighbours of an atom in its frame: those that it is bonded to decide."""


def bond_frames(vectors: Tensor, centre: Tensor, count: int, cutoff: float) -> Tensor:
    r"""Find a frame for each atom that turns with its neighbours, in float64.

    With the weights :math:`g = e^{-d^2 / 2 \cdot 0.7^2}\,(1 + \cos \pi d / d_{cut})` of the neighbours at r, the normal
    n is the axis along which they scatter least, the eigenvector of the smallest eigenvalue of
    :math:`\sum g\,(r - \mu)(r - \mu)^T` with their mean μ. In the plane, with the angle φ and the length ρ of the
    projected r, the first axis lies at the angle α of :math:`\sum g\,\rho^3 e^{3 i \varphi} = |\cdot|\,e^{3 i \alpha}`:
    along the bonds of an atom that has three. α is known up to 120°, n up to its sign: six frames, no one better than
    another. So n becomes a threefold axis of the icosphere and the first axis one of the three twofold axes at right
    angles to it: **the six frames differ by rotations of the icosahedron**, under which CSGNN does not change.

    The frames are smooth functions of the positions, with right first derivatives, as long as n is the only axis of
    least scatter and the sum over the plane is not zero. Where they are (an atom with one neighbour or with two in a
    line, four in a tetrahedron or a square) there is no such frame: the one returned is a rotation, the same at every
    call, and does not turn.

    Parameters
    ----------
    vectors
        (E, 3) vectors to the neighbours, in Å.
    centre
        (E,) int64: whose neighbours they are.
    count
        Number of atoms N.
    cutoff
        Radius in Å at which neighbours cease to count.

    Returns
    -------
    torch.Tensor
        (N, 3, 3) rotations: ``frames[i] @ vector`` are the coordinates on the icosphere. The identity, turned to the
        icosphere's axes, for an atom without neighbours.
    """
    vectors = vectors.double()
    squares = vectors.square().sum(dim=1)
    fading = ((squares.clamp(min=1e-30).sqrt() / cutoff).clamp(max=1) * math.pi).cos() + 1
    weights = (squares / (-2 * REACH**2)).exp() * fading
    total = _sums(weights[:, None], centre, count).clamp(min=1e-300)
    mean = _sums(weights[:, None] * vectors, centre, count) / total
    centred = vectors - mean[centre]
    products = centred[:, :, None] * centred[:, None, :] * weights[:, None, None]
    scatter = _sums(products.flatten(1), centre, count).view(count, 3, 3) / total[:, :, None]
    normal, first = _least(scatter)
    # Any axis in the plane will do to count angles from: it has no part in the result, nor has its derivative.
    first = nn.functional.normalize(first - (first * normal).sum(dim=1, keepdim=True) * normal, dim=1)
    second = torch.linalg.cross(normal, first)
    x, y = ((vectors * axis[centre]).sum(dim=1) for axis in (first, second))
    cubes = torch.stack([x**3 - 3 * x * y**2, 3 * x**2 * y - y**3], dim=1)
    real, imaginary = _sums(cubes * weights[:, None], centre, count).T
    nothing = (real == 0) & (imaginary == 0)
    angle = torch.atan2(imaginary, torch.where(nothing, 1.0, real))[:, None] / 3
    along = angle.cos() * first + angle.sin() * second
    axes = torch.stack([along, torch.linalg.cross(normal, along), normal], dim=1)
    return axes.new_tensor(TRIGONAL) @ axes


def _least(scatter: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unit eigenvector (N, 3) of the smallest eigenvalue of matrices, and that of the largest as a constant.

    The first derivative of the former is that of perturbation theory. Torch's own divides by the difference of the
    other two eigenvalues as well, which is zero for a regular hexagonal net.
    """
    values, vectors = torch.linalg.eigh(scatter.detach())
    normal = vectors[:, :, 0]
    gaps = (values[:, :1] - values[:, 1:]).clamp(max=-1e-12)
    others = vectors[:, :, 1:]
    change = (scatter - scatter.detach()) @ normal[:, :, None]
    return normal + (others / gaps[:, None] @ (others.mT @ change)).squeeze(2), vectors[:, :, 2]


def _sums(rows: Tensor, centre: Tensor, count: int) -> Tensor:
    """Return the sums (N, C) of the rows (E, C) of each atom."""
    return rows.new_zeros(count, rows.shape[1]).index_add_(0, centre, rows)


def _trigonal() -> list[list[float]]:
    """Return the rotation with the columns: a twofold axis of the icosphere, their cross product, a threefold one."""
    turns, threefold = icosahedral_rotations(), np.full(3, 3**-0.5)
    # A half turn that reverses the threefold axis is about an axis at right angles to it; (R + 1) / 2 projects on that.
    half = next(turn for turn in turns if np.allclose(turn @ threefold, -threefold))
    twofold = (half + np.eye(3))[:, 0]
    twofold = twofold / np.linalg.norm(twofold)
    return np.stack([twofold, np.cross(threefold, twofold), threefold], axis=1).tolist()


TRIGONAL = _trigonal()
"""From a frame's axes (along a bond, beside it, normal) to the icosphere's."""
