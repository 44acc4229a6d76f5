"""RI-GCN, rotation-invariant coordinates in local frames and graph convolutions from local to global."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.nn.affinity import AffinityMean, squared_distances
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.frames import in_frames, local_frames
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.norm import Norm, NormReLU
from csgnn_dgl.nn.norm_max import NormMax
from csgnn_dgl.nn.ops.points import farthest_points, gather, nearest

EPS = 1e-3
"""ε of the authors' batch norms."""

GRAPH_HIGHEST = (1.5, 1.5, 2.0)
"""Largest number of neighbours that training draws for each graph, as a multiple of that of evaluation."""


@CLASSIFIERS.register("rigcn")
class RIGCN(Classifier):
    r"""RI-GCN (Kim, Park, Han, NeurIPS 2020), rotation-invariant local-to-global representation learning.

    P₁ representatives p are spread over the cloud; the first P₂ and P₃ of them serve the later stages. Each has a
    frame: mean μ and principal axes E of the offsets o = x - p of its dilated neighbours, every δ-th of the k₁·δ
    nearest (:func:`~csgnn_dgl.nn.frames.local_frames`). Coordinates (o - μ)·E do not change when the cloud turns; in
    the later stages o is the offset of another representative, and μ and E are still those of the first.

    ===== ============================ ===========================================================================
    stage points, neighbours           features F
    ===== ============================ ===========================================================================
    1     P₁ of N; k₁ and k₁ dilated   3→64→64→128 and maximum for either set, together 256→128→256→256
    2     P₂ of P₁; k₂                 coordinates and features of the neighbours 259→256→256→256, maximum
    3     P₃ of P₂; k₃                 the same, 259→256→512→1024, maximum
    ===== ============================ ===========================================================================

    Each stage answers max ReLU(BN(ÂF·W + b)) over its points, 1024 numbers, with the normalised affinities Â of
    :func:`~csgnn_dgl.nn.affinity.affinity`. The three answers feed 3072→512→256→classes. Every linear layer but the
    last has a bias, batch norm and ReLU. With the defaults there are 4,384,808 parameters.

    In training, the numbers of neighbours and the dilation are drawn anew for each batch, uniformly: k from k/2 to
    3k/2, those of the graphs likewise (the last one up to twice its number), δ from δ - 1 to δ + 1.

    The logits do not change when a cloud is rotated, nor when it is reflected, to rounding and away from degeneracy:
    two equal eigenvalues of a neighbourhood, or two equal distances where a neighbourhood ends. They do not depend on
    the order of the points, again but for equal distances. ModelNet40 has some, its coordinates being rounded to
    float16: of 48 test clouds under 5 rotations (rigcn-s, untrained), 97 % of the answers stayed within 1e-3 of the
    logits' spread in float64 and 87 % in float32; no frame differed but where a neighbourhood
    did. No gradient reaches the points: that of eigenvectors is infinite where eigenvalues are equal.

    Deviations from the authors' code (github.com/goodbye61/RI_l2g): the first representative is the point farthest from
    the centroid (theirs: the first stored); an axis whose vote is undecided, as the normal of a flat neighbourhood,
    points to the side of μ or outwards (theirs: rounding decides); distances are sums of squares (theirs: matrix
    products); running averages of batch norm have this package's momentum (theirs: a schedule); weights start as
    torch's do (theirs: Xavier's way). The authors add the logits of 12 rotations, one vote is enough here. The first
    layers of stages 2 and 3 are applied to the features before these are gathered, which is the same map.

    Parameters
    ----------
    width
        Factor of all widths.
    representatives
        P₁ ≥ P₂ ≥ P₃.
    neighbours
        k₁, k₂ and k₃ of evaluation.
    graph_neighbours
        Number e of each graph in evaluation, which leaves e - 2 neighbours.
    dilation
        δ of evaluation, at least 2.
    dropout
        Probability of dropping each of the 512 and 256 hidden numbers of the head.
    weight_penalty
        Factor of Σ½‖w‖² in the loss, over all parameters but biases of linear layers.
    form
        Form of the graph convolutions: ``"auto"``, ``"fast"`` or ``"reference"``.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = RIGCN(width=0.25, neighbours=(24, 12, 8), num_classes=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    symmetry = "SO3"
    tiny = MappingProxyType(
        {
            "width": 0.0625,
            "representatives": [24, 16, 8],
            "neighbours": [8, 6, 4],
            "graph_neighbours": [8, 6, 4],
            "dilation": 2,
        }
    )

    def __init__(
        self,
        width: float = 1.0,
        representatives: tuple[int, int, int] = (256, 128, 64),
        neighbours: tuple[int, int, int] = (64, 32, 16),
        graph_neighbours: tuple[int, int, int] = (16, 8, 4),
        dilation: int = 3,
        dropout: float = 0.6,
        weight_penalty: float = 8e-5,
        form: Form = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not 64 * width >= 1:
            raise ValueError(f"width must be at least 1/64, so that every layer has a channel, not {width!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        if not weight_penalty >= 0:
            raise ValueError(f"weight_penalty must be at least 0, not {weight_penalty!r}")
        check_counts(2, dilation=dilation)
        for name, counts in (
            ("representatives", representatives),
            ("neighbours", neighbours),
            ("graph_neighbours", graph_neighbours),
        ):
            if len(counts) != 3:
                raise ValueError(f"{name} must be three numbers, one for each stage, not {counts!r}")
            for stage, count in enumerate(counts, 1):
                check_counts(2, **{f"{name} of stage {stage}": count})
        self.representatives, self.weight_penalty = tuple(representatives), weight_penalty
        self.evaluated = (*neighbours, *graph_neighbours, dilation)
        self.drawn = (
            *((count // 2, count + count // 2) for count in neighbours),
            *((count // 2, int(most * count)) for count, most in zip(graph_neighbours, GRAPH_HIGHEST, strict=True)),
            (dilation - 1, dilation + 1),
        )
        self._check_sizes()

        def channels(*widths: int) -> list[int]:
            return [round(width * count) for count in widths]

        local, merged, last = channels(64, 64, 128), channels(256, 128, 256, 256), channels(256, 512, 1024)
        second, wide = channels(256, 256, 256), last[-1]
        self.plain = _pooled(3, *local)
        self.dilated = _pooled(3, *local)
        self.merge = mlp(2 * local[-1], *merged[1:], eps=EPS)
        self.second = _Neighbourhood(merged[-1], *second)
        self.third = _Neighbourhood(second[-1], *last)
        self.mean = AffinityMean(form)
        self.graphs = nn.ModuleList(_pooled(inner, wide) for inner in (merged[-1], second[-1], wide))
        hidden = channels(512, 256)
        self.head = mlp(3 * wide, *hidden, eps=EPS, dropout=dropout)
        self.classify = nn.Linear(hidden[-1], self.num_classes)

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Each cloud is divided by its largest norm. It is not centred.

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
            If the shape is another, there are too few points for the neighbourhoods, a coordinate is not finite or all
            points of a cloud lie at the origin.
        """
        *around, dilation = self._counts()
        cloud = scale_to_unit_ball(points).detach()
        self._check_size(cloud)
        chosen = gather(cloud, farthest_points(cloud, self.representatives[0]))
        squared = squared_distances(chosen)

        near = nearest(cloud, chosen, around[0] * dilation)
        plain, dilated = (
            gather(cloud, index) - chosen[:, :, None] for index in (near[..., : around[0]], near[..., ::dilation])
        )
        mean, axes = local_frames(dilated, chosen - cloud.mean(dim=1, keepdim=True))
        dtype = self.classify.weight.dtype
        branches = ((self.plain, plain), (self.dilated, dilated))
        maxima = [layers(in_frames(offsets, mean, axes).to(dtype)) for layers, offsets in branches]
        features = self.merge(torch.cat(maxima, dim=-1))
        answers = [self._answer(0, features, squared, around[3])]
        for stage, layers in enumerate((self.second, self.third), 1):
            count = self.representatives[stage]
            chosen, before = chosen[:, :count], chosen
            near = nearest(before, chosen, around[stage])
            offsets = gather(before, near) - chosen[:, :, None]
            coordinates = in_frames(offsets, mean[:, :count], axes[:, :count]).to(dtype)
            features = layers(coordinates, features, near)
            answers.append(self._answer(stage, features, squared[:, :count, :count], around[3 + stage]))
        return self.classify(self.head(torch.cat(answers, dim=-1)))

    def loss(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy with the penalty of the weights, and the logits; see :meth:`Classifier.loss`."""
        loss, logits = super().loss(points, labels)
        penalty = torch.stack([weight.square().sum() for weight in self.penalised()]).sum() / 2
        return loss + self.weight_penalty * penalty, logits

    def penalised(self) -> list[Tensor]:
        """Return what the loss keeps small: the matrices, and the scales and shifts of the batch norms."""
        matrices = [module.weight for module in self.modules() if isinstance(module, nn.Linear)]
        norms = [module for module in self.modules() if isinstance(module, Norm)]
        return [*matrices, *(parameter for norm in norms for parameter in norm.parameters())]

    def _answer(self, stage: int, features: Tensor, squared: Tensor, count: int) -> Tensor:
        return self.graphs[stage](self.mean(features, squared, count))

    def _counts(self) -> tuple[int, ...]:
        """Return the neighbours of the three stages and of their graphs, and the dilation."""
        if not self.training:
            return self.evaluated
        shares = torch.rand(len(self.drawn)).tolist()
        return tuple(low + int(share * (high + 1 - low)) for share, (low, high) in zip(shares, self.drawn, strict=True))

    def _check_sizes(self) -> None:
        first, second, third = self.representatives
        if not first >= second >= third:
            raise ValueError(f"representatives must not grow from stage to stage, as {self.representatives} do")
        highest = [high for _, high in self.drawn]
        for name, stage, wanted, there in (
            ("neighbours", 2, highest[1], first),
            ("neighbours", 3, highest[2], second),
            *(("graph_neighbours", 1 + place, highest[3 + place], self.representatives[place]) for place in range(3)),
        ):
            if wanted > there:
                raise ValueError(
                    f"{name} of stage {stage} are up to {wanted} in training, of {there} representatives; "
                    "give fewer neighbours or more representatives"
                )

    def _check_size(self, points: Tensor) -> None:
        """Raise ValueError unless clouds have enough points for what may be drawn."""
        reach = self.drawn[0][1] * self.drawn[-1][1] if self.training else self.evaluated[0] * self.evaluated[-1]
        needed = max(reach, self.representatives[0])
        if points.shape[1] < needed:
            raise ValueError(
                f"clouds of {points.shape[1]} points are too small for neighbourhoods among {reach} points and "
                f"{self.representatives[0]} representatives; give {needed} points or a model with smaller numbers"
            )


def _pooled(*widths: int) -> nn.Sequential:
    """Return linear layers with norm and ReLU, and the maximum over neighbours: (..., K, C) to (..., C')."""
    *_, inner, outer = widths
    return nn.Sequential(*mlp(*widths[:-1], eps=EPS), nn.Linear(inner, outer), NormMax(outer, eps=EPS, slope=0.0))


class _Neighbourhood(nn.Module):
    """Layers on the coordinates and features of each neighbour, and the maximum over the neighbours.

    The first layer is applied to the features before they are gathered.

    Shapes
    ------
    - coordinates: (B, P, K, 3); features: (B, P', C); near: (B, P, K) places among P'; output: (B, P, C').
    """

    def __init__(self, in_channels: int, *widths: int) -> None:
        super().__init__()
        self.first = nn.Linear(3 + in_channels, widths[0])
        self.rest = nn.Sequential(NormReLU(widths[0], EPS), *_pooled(*widths))

    def forward(self, coordinates: Tensor, features: Tensor, near: Tensor) -> Tensor:
        of_place, of_features = self.first.weight.split([3, features.shape[-1]], dim=1)
        hidden = gather(linear(features, of_features, self.first.bias), near) + linear(coordinates, of_place)
        return self.rest(hidden)
