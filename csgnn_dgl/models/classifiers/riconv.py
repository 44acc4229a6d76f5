"""RIConv, which convolves over slabs of neighbours that are described by distances and angles alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl.models.classifiers.base import CLASSIFIERS
from csgnn_dgl.models.classifiers.representatives import POINT_WIDTHS, RepresentativeClassifier, ShellConv
from csgnn_dgl.nn.dropout import SharedDropout
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.norm import Norm
from csgnn_dgl.nn.ops.points import gather

EPS = 1e-3
"""ε of batch norm in TensorFlow."""

SKIPPED = 5
"""How many of the nearest points the authors leave out, the representative itself among them."""


@CLASSIFIERS.register("riconv")
class RIConv(RepresentativeClassifier):
    r"""RIConv, a point-cloud classifier whose answer does not depend on how a cloud is turned.

    Zhang, Hua, Rosen & Yeung, "Rotation Invariant Convolutions for 3D Point Clouds Deep Learning", 3DV 2019. With the
    defaults and 40 classes it has 710,024 parameters.

    Each layer chooses P representatives p among its points and K neighbours x_i of each: of its K + 5 nearest points
    all but the nearest 5. With their mean m, a neighbour is described by

    .. math::
        \Vert x_i - p \Vert, \quad \Vert x_i - m \Vert, \quad \cos\angle(x_i - p,\, m - p), \quad
        \cos\angle(x_i - m,\, m - p)

    and an angle at a vector of no length has the cosine 0. The direction a from p to the mean of all points of the
    layer cuts the neighbourhood into D slabs of equal thickness, from the least (x_i - p)·a to the largest. With the
    neighbours' features h of the layer before (none at first),

    .. math::
        v_i = \mathrm{dense}_{64}(\mathrm{dense}_{32}(\text{the four numbers})), \quad
        s_d = \max_{i \in \text{slab } d} (v_i \,\Vert\, h_i), \quad
        h'_p = \mathrm{ReLU}\Big(\mathrm{BN}\Big(\sum_d W_d\, s_d + b\Big)\Big)

    where dense(x) = ReLU(BN(W x + b)) and a slab without neighbours has s_d = 0. Every representative of the last layer
    answers by itself: linear maps to 512 and 256 channels without bias, each with ReLU and then batch norm, dropout,
    and a linear layer; see :class:`RepresentativeClassifier`.

    Shapes with the defaults: (B, N, 3) → (B, 256, 4, 64) → (B, 256, 128) → (B, 128, 2, 192) → (B, 128, 256) →
    (B, 64, 1, 320) → (B, 64, 512) → (B, 64, 40) → (B, 40).

    The answer is the same for a cloud that is turned or mirrored, to rounding, unless two distances that decide about
    representatives or neighbours are equal to rounding, or a neighbour lies on the boundary of two slabs.

    Differences from the authors' code:

    - The first of the farthest points is farthest from the centroid (theirs: the first as stored), so that the order of
      the points does not matter.
    - A slab has its lower boundary and the last one its upper boundary too (theirs: a neighbour on a boundary is in
      both slabs, and rounding may lose the last one). Where p is the mean of all points, all neighbours are in the
      first slab (theirs: not a number).
    - All points of a cloud are used, however many (theirs: the first 1,024), divided by the largest norm.
    - A batch has a share of 0.1 in the running averages of the norms, and an equal one among the first (theirs: from
      0.5 down to 0.01, halved every 200,000 shapes).

    Parameters
    ----------
    neighbours, shells, representatives, widths
        K, D, P and C of each layer.
    head
        Channels of the hidden layers of the head.
    dropout
        Probability of dropping an output of the last of them in training.
    form
        Form of the maxima over shells: ``"auto"``, ``"compiled"``, ``"fast"`` or ``"reference"`` (DGL message passing);
        see :class:`~csgnn_dgl.nn.shells.ShellMax`.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range or a layer lacks points.

    Notes
    -----
    From the paper, which speaks of the angles themselves, and from what the authors' program
    (github.com/hkust-vgd/riconv, MIT) does; this is code of our own.

    Examples
    --------
    >>> model = RIConv(num_classes=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    symmetry = "SO3"
    tiny = MappingProxyType(
        {
            "neighbours": [8, 4],
            "shells": [2, 1],
            "representatives": [32, 8],
            "widths": [16, 32],
            "head": [16, 8],
        }
    )

    def __init__(
        self,
        neighbours: Sequence[int] = (64, 32, 16),
        shells: Sequence[int] = (4, 2, 1),
        representatives: Sequence[int] = (256, 128, 64),
        widths: Sequence[int] = (128, 256, 512),
        head: Sequence[int] = (512, 256),
        dropout: float = 0.5,
        form: Form = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(neighbours, shells, representatives, widths, form, **shared)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        channels = (widths[-1], *head)
        layers: list[nn.Module] = []
        for inner, outer in pairwise(channels):
            layers += [nn.Linear(inner, outer, bias=False), nn.ReLU(inplace=True), Norm(outer, eps=EPS)]
        self.head = nn.Sequential(*layers, SharedDropout(dropout), nn.Linear(channels[-1], self.num_classes))

    def make_layer(
        self,
        num_neighbours: int,
        num_shells: int,
        num_representatives: int,
        in_channels: int,
        out_channels: int,
        form: Form,
    ) -> ShellConv:
        """Return a layer with slabs across the direction to the mean of its points."""
        narrow, wide = POINT_WIDTHS
        lift = nn.Sequential(*mlp(4, narrow, eps=EPS), nn.Linear(narrow, wide), Norm(wide, eps=EPS))
        channels = num_shells * (wide + in_channels)
        mix = nn.Sequential(nn.Flatten(start_dim=-2), *mlp(channels, out_channels, eps=EPS))
        return Slabs(lift, mix, num_neighbours, num_shells, num_representatives, form)


class Slabs(ShellConv):
    """Slabs of equal thickness, whose neighbours are described by two distances and two cosines."""

    skipped = SKIPPED

    def describe(self, points: Tensor, chosen: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut neighbourhoods into slabs; see :class:`ShellConv`."""
        index, sizes = self._cut(points.detach(), chosen.detach(), index)
        return index, sizes, invariants(gather(points, index) - chosen[:, :, None])

    def _cut(self, points: Tensor, chosen: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        axis = points.mean(dim=1, keepdim=True) - chosen
        length = _length(*axis.unbind(-1))[..., None]
        axis = axis / torch.where(length > 0, length, 1)
        height, order = _dot(gather(points, index) - chosen[:, :, None], axis[:, :, None]).sort(dim=-1)
        lowest, thickness = height[..., :1], height[..., -1:] - height[..., :1]
        slab = ((height - lowest) / torch.where(thickness > 0, thickness, 1) * self.num_shells).floor()
        numbers = torch.arange(self.num_shells, device=index.device)
        sizes = (slab.clamp(max=self.num_shells - 1)[..., None, :] == numbers[:, None]).sum(dim=-1)
        return index.gather(-1, order), sizes


def invariants(offsets: Tensor) -> Tensor:
    """Describe neighbours by what no rotation or reflection changes.

    Parameters
    ----------
    offsets
        (..., K, 3) positions of the neighbours, seen from the representative.

    Returns
    -------
    torch.Tensor
        (..., K, 4): distance from the representative, distance from the neighbours' mean, and the cosines of the
        angles that the directions from these two make with that from the representative to the mean.
    """
    mean = offsets.mean(dim=-2, keepdim=True)
    inner = offsets - mean
    to_mean, far, near = (_length(*vectors.unbind(-1)) for vectors in (mean, offsets, inner))
    cosines = [_quotient(_dot(v, mean), d * to_mean) for v, d in ((offsets, far), (inner, near))]
    return torch.stack([far, near, *cosines], dim=-1)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Return the products of vectors (..., 3), faster than a sum over three numbers in a row."""
    (a, b, c), (x, y, z) = one.unbind(-1), other.unbind(-1)
    return a * x + b * y + c * z


def _length(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return the lengths of vectors, with the gradient 0 at the length 0."""
    squared = x * x + y * y + z * z
    return torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)


def _quotient(one: Tensor, other: Tensor) -> Tensor:
    """Return one / other, and 0 where the other is 0."""
    return torch.where(other > 0, one / torch.where(other > 0, other, 1), 0)
