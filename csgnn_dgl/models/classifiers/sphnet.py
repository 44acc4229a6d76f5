"""SPHNet, which reads neighbourhoods by the norms of spherical harmonics."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.models.classifiers.csgnn import resampling
from csgnn_dgl.nn.dropout import SharedDropout
from csgnn_dgl.nn.harmonic_conv import HarmonicConv, HarmonicForm
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.ops.points import gather
from csgnn_dgl.nn.partition import ALONG, Cut, parts, tree_order

RADII = (0.1, 0.2, 0.4)
POOLED = 4
"""Points that become one."""
LEAST_POINTS = POOLED ** (len(RADII) - 1)

EPS = 1e-3


@CLASSIFIERS.register("sphnet")
class SPHNet(Classifier):
    r"""Rotation-invariant convolutions by spherical harmonics between poolings along a kd-tree.

    A. Poulenard, M.-J. Rakotosaona, Y. Ponty, M. Ovsjanikov, "Effective rotation-invariant point CNN with spherical
    harmonics kernels", 3DV 2019. Written from the paper and facts about the authors' code, not from the code.

    On the points of a cloud, in the order of a balanced kd-tree, with the constant signal 1:

    1. :class:`~csgnn_dgl.nn.harmonic_conv.HarmonicConv` with R = 0.1 from 1 to 64 channels, batch norm, ReLU;
    2. every 4 points that follow each other in the tree become one: maximum of the features, mean of the positions;
    3. the same with R = 0.2 from 64 to 256 channels, and pooling;
    4. the same with R = 0.4 from 256 to 1024 channels, and the maximum over all points;
    5. linear layers to 512 and 256 channels, each with batch norm, ReLU and dropout, and to the logits.

    Shapes, at N = 1024: (B, 1024, 64), (B, 256, 64), (B, 256, 256), (B, 64, 256), (B, 64, 1024), (B, 1024). With the
    defaults it has 2,900,712 parameters.

    The convolutions change by nothing but roundings when a cloud is turned or reflected. With ``cut="kd"`` the whole
    does change: a turned cloud is cut across other axes, and other points are pooled together. Before training,
    rotations move the logits by a third of their standard deviation over the built-in shapes of 1024 points.

    Where this differs from the authors' code:

    - Their tree has leaves of 16 points, within which the order is arbitrary; here parts are cut down to the 4 points
      that are pooled. A tree of scipy with one point to a leaf has the same parts.
    - The harmonics are homogeneous polynomials of x / d, and so vanish at the centre itself, for l > 0.
    - The initial weights of a convolution follow the numbers of its inputs and outputs (Glorot); those of the head are
      torch's.
    - The running averages of the norms begin as the plain mean of the first batches.
    - Any number of points from 16: if it is no power of two, the first pooling is to as many points as that of the next
      larger power has, each of 2 to 4. Where a level has fewer than K points, all are neighbours.
    - Clouds are divided by their largest norm first. Of clouds of more than `max_points` points, that many are taken,
      the same places of all clouds; the authors draw others for each batch, in testing too.
    - ``cut="pca"`` is a variant, which the authors' code has but does not use: each part is cut across its principal
      axis, and then the whole is invariant but for parts that are equally wide in two directions.

    Parameters
    ----------
    channels
        Channels of the three convolutions.
    head
        Channels of the two hidden linear layers.
    neighbours
        K.
    dropout
        Probability of dropping an output of each hidden linear layer.
    momentum
        Share of each new batch in the running averages of the norms; the authors' is 0.5.
    max_points
        Number of points at most, 16 or more; see above.
    cut
        ``"kd"`` or ``"pca"``.
    form
        Form of the convolutions: ``"auto"``, ``"fast"`` or ``"reference"`` (DGL message passing).
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = SPHNet(channels=(8, 16, 32), head=(16, 16), num_classes=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    symmetry = "none"
    tiny = MappingProxyType({"channels": [8, 8, 16], "head": [16, 8], "neighbours": 12})

    def __init__(
        self,
        channels: Sequence[int] = (64, 256, 1024),
        head: Sequence[int] = (512, 256),
        neighbours: int = 64,
        dropout: float = 0.5,
        momentum: float = 0.5,
        max_points: int = 1024,
        cut: Cut = "kd",
        form: HarmonicForm = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        for name, widths, count in (("channels", channels, len(RADII)), ("head", head, 2)):
            if len(widths) != count:
                raise ValueError(f"{name} must be {count} numbers, not {widths!r}")
        if cut not in ALONG:
            raise ValueError(f"cut must be one of {', '.join(ALONG)}, not {cut!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, not {momentum!r}")
        if max_points < LEAST_POINTS:
            raise ValueError(f"max_points must be at least {LEAST_POINTS}, not {max_points!r}")
        self.max_points, self.cut = max_points, cut
        widths = (1, *channels)
        self.convs = nn.ModuleList(
            HarmonicConv(inner, outer, radius, neighbours, form)
            for inner, outer, radius in zip(widths, channels, RADII, strict=False)
        )
        self.norms = nn.ModuleList(NormReLU(width, EPS, momentum) for width in channels)
        layers: list[nn.Module] = []
        for inner, outer in zip((channels[-1], head[0]), head, strict=True):
            layers += [nn.Linear(inner, outer), NormReLU(outer, EPS, momentum), SharedDropout(dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(head[-1], self.num_classes))

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
            If the shape is another, there are fewer than 16 points, a coordinate is not finite or all points of a
            cloud lie at the origin.
        """
        points = scale_to_unit_ball(points)
        if points.shape[1] > self.max_points:
            points = points[:, resampling(points.shape[1], self.max_points).to(points.device)]
        if points.shape[1] < LEAST_POINTS:
            raise ValueError(
                f"clouds of {points.shape[1]} points cannot be pooled four to one twice; give {LEAST_POINTS} or more"
            )
        # Cuts until no part has more points than are pooled.
        depth = (-(-points.shape[1] // POOLED) - 1).bit_length()
        points = gather(points, tree_order(points, depth, self.cut))
        features = self.norms[0](self.convs[0](points))
        for stage in range(1, len(RADII)):
            points, features = pool(points, features, 2**depth // POOLED ** (stage - 1))
            features = self.norms[stage](self.convs[stage](points, features))
        return self.head(features.amax(dim=1))


def pool(points: Tensor, features: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Make one point of each of so many parts, (B, number, 3) means of positions and (B, number, C) maxima."""
    count = points.shape[1]
    if count % number == 0:
        return points.unflatten(1, (number, -1)).mean(dim=2), features.unflatten(1, (number, -1)).amax(dim=2)
    places, repeated = parts(count, number, points.device)
    own = (~repeated)[:, :, None].to(points.dtype)
    return (points[:, places] * own).sum(dim=2) / own.sum(dim=1), features[:, places].amax(dim=2)
