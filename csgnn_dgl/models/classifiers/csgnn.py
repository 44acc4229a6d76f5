"""CSGNN, the point-cloud classifier of Fig. 4."""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import InputError, check_counts
from csgnn_dgl.mapping import MAPPINGS
from csgnn_dgl.mapping.unit_ball import check_clouds, scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.models.encoder import ConcentricEncoder, MakeConv
from csgnn_dgl.nn.dropout import SharedDropout
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.pool import Reduction, overall_max

# Convolutions per level, from the finest down: (intra-sphere, radial).
DEPTHS = {
    0: ([1], [1]),
    1: ([2, 1], [2, 1]),
    2: ([2, 2, 1], [2, 2, 1]),
    3: ([2, 2, 2, 1], [2, 2, 2, 1]),
    4: ([2, 2, 2, 2, 1], [2, 2, 2, 1, 1]),
    5: ([2, 2, 2, 2, 1, 1], [2, 2, 2, 1, 1, 1]),
}


def level_widths(level: int, base_width: int) -> list[tuple[list[int], list[int]]]:
    """Return the widths of Fig. 4 for each level from the finest: those of intra-sphere and of radial convolutions.

    Raises
    ------
    ValueError
        If there are none for the level.
    """
    if level not in DEPTHS:
        raise ValueError(f"level must be one of {', '.join(map(str, DEPTHS))}, not {level!r}")
    depths = enumerate(zip(*DEPTHS[level], strict=True))
    return [
        (num_intra * [8 * base_width * 2**depth], num_radial * [16 * base_width * 2**depth])
        for depth, (num_intra, num_radial) in depths
    ]


def dense_head(channels: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Return the three linear layers of Fig. 4, from features (B, channels) to logits (B, num_classes).

    Raises
    ------
    ValueError
        If `dropout` is not at least 0 and below 1.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
    return nn.Sequential(
        SharedDropout(dropout),
        nn.Linear(channels, 512),
        NormReLU(512),
        SharedDropout(dropout),
        nn.Linear(512, 256),
        NormReLU(256),
        SharedDropout(dropout),
        nn.Linear(256, num_classes),
    )


@CLASSIFIERS.register("csgnn")
class CSGNN(Classifier):
    """Concentric spherical GNN that classifies point clouds (Fig. 4).

    Points are mapped to features on the concentric grid (Eq. 1); at every level, from the finest to the
    icosahedron, intra-sphere (Eq. 2) and radial convolutions (Eq. 3) follow each other, then pooling (A.5). The maxima
    over vertices and spheres after every level's radial convolutions feed three linear layers. With the defaults and
    any number of spheres it has 3,959,784 parameters.

    The logits do not change when a cloud is turned by one of the 60 rotations of the icosahedron; for other
    rotations, :func:`csgnn_dgl.so3_error` measures by how much they do.

    Parameters
    ----------
    level
        Level l of the finest spheres, 0 to 5; the paper uses 4.
    num_spheres
        Number of spheres R; the paper uses 20 (CSGNN-SO3) and 15 (CSGNN-z).
    channels
        Input channels C: fine spheres that each sphere's features are grouped from.
    base_width
        F; intra-sphere convolutions have 8·F·2^i channels at the i-th level from the finest, radial ones 16·F·2^i.
    kernel_size
        Odd size K of the radial kernels.
    pooling
        ``"max"``, ``"mean"`` or ``"sum"``.
    dropout
        Probability of dropping an input of each of the three linear layers.
    self_loop
        Whether a vertex belongs to its own neighbourhood in Eq. 2.
    mapping
        ``"shell"`` (the published code) or ``"prism"`` (A.6); see :mod:`csgnn_dgl.mapping`. The default is the one
        that validates better, by 0.9 points of accuracy on ModelNet40 (docs/results.md).
    threshold
        T of the mapping: the kernel's value at the largest distance within a cell.
    num_points
        Points per cloud; clouds of other sizes are resampled.
    num_features
        Numbers that every point carries beside its position, which no rotation changes, such as a colour; see
        :class:`~csgnn_dgl.mapping.PointMapping`. The points are then (B, N, 3 + num_features).
    form
        Form of every layer: ``"auto"``, ``"compiled"``, ``"fast"`` or ``"reference"``.
    recompute
        Whether to keep only the features between the levels for the gradient, and to compute each level a second time
        when its gradient is due: the same bits in less memory and more time.
    make_intra, make_radial
        Other convolutions than the paper's; see :class:`~csgnn_dgl.models.encoder.ConcentricEncoder`.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = CSGNN(level=2, num_spheres=4, base_width=1, num_classes=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    symmetry = "icosahedral"
    tiny = MappingProxyType({"level": 1, "num_spheres": 2, "channels": 2, "base_width": 1, "num_points": 64})

    def __init__(
        self,
        level: int = 4,
        num_spheres: int = 20,
        channels: int = 8,
        base_width: int = 4,
        kernel_size: int = 3,
        pooling: Reduction = "max",
        dropout: float = 0.14,
        self_loop: bool = True,
        mapping: Literal["prism", "shell"] = "shell",
        threshold: float = 0.01,
        num_points: int = 1024,
        num_features: int = 0,
        form: Form = "auto",
        recompute: bool = False,
        make_intra: MakeConv = None,
        make_radial: MakeConv = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        widths = level_widths(level, base_width)
        check_counts(channels=channels, base_width=base_width, num_points=num_points)
        check_counts(0, num_features=num_features)
        self.num_features = num_features
        if mapping not in MAPPINGS:
            raise ValueError(f"mapping must be one of {', '.join(MAPPINGS)}, not {mapping!r}")
        self.num_points = num_points
        self.mapping = MAPPINGS[mapping](level, num_spheres, channels, threshold)
        self.encoder = ConcentricEncoder(
            level,
            num_spheres,
            channels * (1 + num_features),
            widths,
            kernel_size,
            pooling,
            self_loop,
            form,
            recompute,
            make_intra,
            make_radial,
        )
        self.head = dense_head(sum(self.encoder.out_channels), self.num_classes, dropout)

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Each cloud is resampled to ``num_points`` points where it has another number (the sum of Eq. 1 is not
        normalised, so their number matters), and divided by its largest norm. It is not centred.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length; with `num_features`, (B, N, 3 + num_features).

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
        """
        if self.num_features == 0:
            features = self.mapping(scale_to_unit_ball(self._resample(points)))
        else:
            features = self.mapping(*self._with_features(points))
        return self.forward_grid(features.to(self.head[1].weight.dtype))

    def forward_grid(self, features: Tensor) -> Tensor:
        """Classify features on the grid.

        Parameters
        ----------
        features
            (R, V, B, C) features at the finest level, as the mapping gives them.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape does not fit the grid.
        """
        _, maxima = self.encoder.read(features, self._maximum)
        return self.head(torch.cat(maxima, dim=-1))

    def _maximum(self, features: Tensor, pooled: Tensor) -> Tensor:
        """Return the maximum (B, C) over the vertices and spheres of a level."""
        # Every vertex is in the neighbourhood of some coarse vertex: its maximum is among the pooled ones.
        pool = self.encoder.pool
        return overall_max(pooled if pool.reduction == "max" else features, pool.form)

    def _with_features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if points.dim() != 3 or points.shape[2] != 3 + self.num_features:
            raise InputError(
                f"points have the shape {tuple(points.shape)} and the model takes {self.num_features} number(s) of "
                f"each point beside its position; give (B, N, {3 + self.num_features})"
            )
        check_clouds(points[..., :3])
        points = self._resampled(points)
        return scale_to_unit_ball(points[..., :3]), points[..., 3:]

    def _resample(self, points: Tensor) -> Tensor:
        check_clouds(points)
        return self._resampled(points)

    def _resampled(self, points: Tensor) -> Tensor:
        count = points.shape[1]
        if count == self.num_points:
            return points
        warnings.warn(
            f"clouds of {count} points are resampled to the {self.num_points} points that the model works with",
            stacklevel=4,
        )
        return points[:, resampling(count, self.num_points).to(points.device)]


def resampling(count: int, wanted: int) -> Tensor:
    """Return which of `count` points make a cloud of `wanted`, (wanted,) indices: the same ones at every call.

    Every point comes ⌊wanted / count⌋ times, and as many as are then missing are drawn without replacement.
    """
    generator = torch.Generator().manual_seed(0)
    whole, rest = divmod(wanted, count)
    drawn = torch.randperm(count, generator=generator)[:rest]
    return torch.cat([torch.arange(count).repeat(whole), drawn])
