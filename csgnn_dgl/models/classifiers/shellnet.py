"""ShellNet, which convolves over concentric shells of neighbours."""

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
from csgnn_dgl.nn.linear import Linear
from csgnn_dgl.nn.norm import Norm
from csgnn_dgl.nn.ops.points import gather

NORM = MappingProxyType({"eps": 1e-3, "momentum": 0.02})
"""Batch norm as in TensorFlow, with the authors' decay of 0.98."""


@CLASSIFIERS.register("shellnet")
class ShellNet(RepresentativeClassifier):
    r"""ShellNet, a point-cloud classifier that convolves over shells of neighbours, from the inside out.

    Zhang, Hua & Yeung, "ShellNet: Efficient Point Cloud Convolutional Neural Networks using Concentric Shells
    Statistics", ICCV 2019. With the defaults and 40 classes it has 474,170 parameters.

    Each layer chooses P representatives q among its points and the K nearest points p_j of each, from near to far, q
    itself first. Shell d has K/D neighbours in a row. With the neighbours' features h of the layer before (none at
    first),

    .. math::
        v_j = \mathrm{dense}_{64}(\mathrm{dense}_{32}(p_j - q)), \quad
        s_d = \max_{j \in \text{shell } d} (v_j \,\Vert\, h_j), \quad
        h'_q = \mathrm{ReLU}\Big(\sum_d W_d\, \mathrm{BN}(s_d)\Big)

    where dense(x) = ReLU(W BN(x) + b): batch norm comes before the linear map. Every representative of the last layer
    answers by itself, dense 256, dense 128, batch norm and a linear layer; see :class:`RepresentativeClassifier`.

    Shapes with the defaults: (B, N, 3) → (B, 512, 4, 64) → (B, 512, 128) → (B, 128, 2, 192) → (B, 128, 256) →
    (B, 32, 1, 320) → (B, 32, 512) → (B, 32, 40) → (B, 40).

    The answer depends on how a cloud is turned, since p_j - q are used as they are.

    Differences from the authors' code:

    - Representatives are farthest points, the first being farthest from the centroid, so that the order of the points
      does not matter. The authors' default for classification takes the first P points as stored, in an order that is
      drawn anew each epoch; farthest points are an option of theirs.
    - All points of a cloud are used, however many (theirs: the first 1,024), divided by the largest norm.
    - The first batches count with equal shares in the running averages of the norms.

    Parameters
    ----------
    neighbours, shells, representatives, widths
        K, D, P and C of each layer; D divides K.
    head
        Channels of the dense layers of the head.
    dropout
        Probability of dropping an output of each of them in training. None is dropped as the authors run it: they
        declare (0.2, 0.5) and leave them switched off.
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
    From the paper and from what the authors' program (github.com/hkust-vgd/shellnet, MIT) does; this is code of our
    own.

    Examples
    --------
    >>> model = ShellNet(num_classes=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

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
        representatives: Sequence[int] = (512, 128, 32),
        widths: Sequence[int] = (128, 256, 512),
        head: Sequence[int] = (256, 128),
        dropout: Sequence[float] = (0.0, 0.0),
        form: Form = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(neighbours, shells, representatives, widths, form, **shared)
        if len(dropout) != len(head) or not all(0 <= share < 1 for share in dropout):
            raise ValueError(f"dropout must be {len(head)} numbers of at least 0 and below 1, not {dropout!r}")
        layers: list[nn.Module] = []
        for (inner, outer), share in zip(pairwise((widths[-1], *head)), dropout, strict=True):
            layers += [*dense(inner, outer), nn.ReLU(inplace=True)]
            layers += [SharedDropout(share)] if share else []
        self.head = nn.Sequential(*layers, *dense((widths[-1], *head)[-1], self.num_classes))

    def make_layer(
        self,
        num_neighbours: int,
        num_shells: int,
        num_representatives: int,
        in_channels: int,
        out_channels: int,
        form: Form,
    ) -> ShellConv:
        """Return a layer with shells of equal size."""
        if num_neighbours % num_shells:
            raise ValueError(f"{num_neighbours} neighbours do not make {num_shells} equal shells; give a multiple")
        narrow, wide = POINT_WIDTHS
        lift = nn.Sequential(*dense(3, narrow), nn.ReLU(inplace=True), *dense(narrow, wide))
        channels = wide + in_channels
        mix = nn.Sequential(
            Norm(channels, **NORM),
            nn.Flatten(start_dim=-2),
            nn.Linear(num_shells * channels, out_channels, bias=False),
            nn.ReLU(inplace=True),
        )
        return EqualShells(lift, mix, num_neighbours, num_shells, num_representatives, form)


class EqualShells(ShellConv):
    """Shells of equally many neighbours in a row, which are described by their offsets from the representative."""

    def describe(self, points: Tensor, chosen: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut neighbourhoods into shells; see :class:`ShellConv`."""
        size = self.num_neighbours // self.num_shells
        sizes = torch.full((*index.shape[:2], self.num_shells), size, device=index.device)
        return index, sizes, gather(points, index) - chosen[:, :, None]


def dense(inner: int, outer: int) -> tuple[Norm, nn.Linear]:
    """Return batch norm and the linear layer that it comes before."""
    return Norm(inner, **NORM), Linear(inner, outer)
