"""DGCNN, whose points exchange messages with those whose features are nearest to theirs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.ops.points import nearest
from csgnn_dgl.nn.point_edge import PointEdgeConv

SLOPE = 0.2
"""Slope of all activations below zero."""


@CLASSIFIERS.register("dgcnn")
class DGCNN(Classifier):
    r"""Dynamic graph CNN (Wang, Sun, Liu, Sarma, Bronstein & Solomon, ACM Transactions on Graphics 2019).

    Edge convolutions follow each other, each on the graph of the K nearest neighbours in what the one before gives (the
    first one in space):

    .. math:: x_i' = \max_{j \in N(i)} a\big(\mathrm{BN}(W\,[x_j - x_i;\ x_i])\big)

    with the leaky ReLU a of slope 0.2; the point itself is one of its K neighbours. With N points:

    ========== ===================== =======================================================
    step       shape                 layers
    ========== ===================== =======================================================
    edges      (B, N, widths[n])     an :class:`~csgnn_dgl.nn.PointEdgeConv` for each of `widths`
    embedding  (B, N, embedding)     of all their outputs side by side
    pooling    (B, 2 embedding)      maximum and mean over the points
    head       (B, num_classes)      2 embedding → 512 → 256 → num_classes
    ========== ===================== =======================================================

    Embedding and head have batch norm and a after each layer but the last, and no bias but in the last two layers;
    dropout follows the head's two hidden layers. With the defaults there are 1,809,576 parameters.

    In training, :meth:`loss` smooths the labels. The order of the points changes nothing, but where `max_points` cuts;
    rotations do.

    Layers, loss and initial values are those of the authors' PyTorch code (github.com/WangYueFt/dgcnn,
    ``pytorch/model.py``, ``pytorch/util.py``), which has no transform of its input. Other than there, each cloud is
    divided by its largest norm first, which changes nothing for the published data; distances in space are sums of
    squared differences, not products of matrices; and edges are not computed one by one, see
    :class:`~csgnn_dgl.nn.PointEdgeConv`.

    Parameters
    ----------
    k
        Number K of neighbours of each point, itself among them.
    widths
        Channels of the edge convolutions.
    embedding
        Channels of the embedding.
    dropout
        Probability of dropping an output of the head's two hidden layers.
    smoothing
        As in :class:`Classifier`.
    max_points
        Larger clouds are cut to so many points, their first; None takes all.
    form
        Form of the edge convolutions.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = DGCNN(k=10, widths=(32, 32, 64, 128), embedding=512, max_points=512, num_classes=10).eval()
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    tiny = MappingProxyType({"k": 5, "widths": [8, 8], "embedding": 16})

    def __init__(
        self,
        k: int = 20,
        widths: Sequence[int] = (64, 64, 128, 256),
        embedding: int = 1024,
        dropout: float = 0.5,
        smoothing: float = 0.2,
        max_points: int | None = None,
        form: Form = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(smoothing=smoothing, **shared)
        check_counts(k=k, embedding=embedding, **{f"widths[{place}]": width for place, width in enumerate(widths)})
        if not widths:
            raise ValueError(f"widths must name one edge convolution at least, not {widths!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        if max_points is not None:
            check_counts(k, max_points=max_points)
        self.k, self.max_points = k, max_points
        self.convolutions = nn.ModuleList(
            PointEdgeConv(*pair, slope=SLOPE, form=form) for pair in pairwise((3, *widths))
        )
        self.embedding = mlp(sum(widths), embedding, bias=False, slope=SLOPE)
        self.head = nn.Sequential(
            mlp(2 * embedding, 512, bias=False, slope=SLOPE, dropout=dropout),
            mlp(512, 256, slope=SLOPE, dropout=dropout),
        )
        self.output = nn.Linear(256, self.num_classes)

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape is another, a cloud has fewer than `k` points, a coordinate is not finite or all points of a
            cloud lie at the origin.
        """
        features = scale_to_unit_ball(points[:, : self.max_points]).to(self.output.weight.dtype)
        found = []
        for convolution in self.convolutions:
            features = convolution(features, nearest(features, features, self.k))
            found.append(features)
        features = self.embedding(torch.cat(found, dim=-1))
        return self.output(self.head(torch.cat([features.amax(dim=1), features.mean(dim=1)], dim=1)))
