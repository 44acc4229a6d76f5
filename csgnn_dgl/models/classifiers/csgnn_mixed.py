"""CSGNN on spheres of different levels: inner spheres coarser, as many vertices as their radius asks for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.graphs.mixed import MixedLevel, MixedPooling, levels_by_radius
from csgnn_dgl.mapping import MAPPINGS
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.models.classifiers.csgnn import dense_head, level_widths
from csgnn_dgl.nn.mixed import MixedIntraConv, MixedPool, MixedRadialConv
from csgnn_dgl.nn.norm import NormReLU


@CLASSIFIERS.register("csgnn_mixed")
class MixedCSGNN(Classifier):
    """CSGNN whose spheres have levels of their own, the paper's future work.

    Layers, widths and head are those of :class:`~csgnn_dgl.CSGNN`, and so are the parameters: a model of one kind can
    take the weights of the other. Every sphere gets from the mapping what the grid of its level gives it. At each stage
    the spheres of the finest level that is left are pooled, until all are icosahedra.

    Parameters
    ----------
    level
        Level l of the outermost sphere, 0 to 5.
    num_spheres
        Number of spheres R.
    levels
        Level of each sphere from the innermost, none above `level`; by default
        :func:`~csgnn_dgl.graphs.levels_by_radius`, with vertices about as far apart on all spheres.
    channels, base_width, kernel_size, dropout, mapping, threshold
        As in :class:`~csgnn_dgl.CSGNN`.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = MixedCSGNN(level=2, num_spheres=4, base_width=1, num_classes=10)
    >>> model.grids[0].levels, model(torch.randn(5, 1024, 3)).shape
    ((0, 1, 2, 2), torch.Size([5, 10]))
    """

    symmetry = "icosahedral"
    tiny = MappingProxyType({"level": 1, "num_spheres": 2, "channels": 2, "base_width": 1})

    def __init__(
        self,
        level: int = 4,
        num_spheres: int = 20,
        levels: Sequence[int] | None = None,
        channels: int = 8,
        base_width: int = 4,
        kernel_size: int = 3,
        dropout: float = 0.14,
        mapping: Literal["prism", "shell"] = "shell",
        threshold: float = 0.01,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        widths = level_widths(level, base_width)
        check_counts(channels=channels, base_width=base_width, num_spheres=num_spheres)
        if mapping not in MAPPINGS:
            raise ValueError(f"mapping must be one of {', '.join(MAPPINGS)}, not {mapping!r}")
        own = levels_by_radius(level, num_spheres) if levels is None else tuple(levels)
        if len(own) != num_spheres or max(own) != level:
            raise ValueError(
                f"levels are {list(own)} for {num_spheres} spheres of up to level {level}; give one for each sphere, "
                "and the largest as level"
            )
        self.levels = own
        self.mappings = nn.ModuleDict(
            {str(one): MAPPINGS[mapping](one, num_spheres, channels, threshold) for one in sorted(set(own))}
        )
        stages = [tuple(min(one, finest) for one in own) for finest in range(level, -1, -1)]
        self.grids = nn.ModuleList(MixedLevel(stage, kernel_size) for stage in stages)
        self.steps = nn.ModuleList(
            MixedPooling(stage, finest - 1) for stage, finest in zip(stages[:-1], range(level, 0, -1), strict=True)
        )
        self.stages, width_in, total = nn.ModuleList(), channels, 0
        for intra, radial in widths:
            self.stages.append(_Stage(width_in, intra, radial, kernel_size))
            width_in = radial[-1]
            total += width_in
        self.pool = MixedPool()
        self.head = dense_head(total, self.num_classes, dropout)

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Each cloud is divided by its largest norm. It is not centred. The sum of Eq. 1 is not normalised, so the number
        of points matters: give as many as in training.

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
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
        """
        features = self.mapped(scale_to_unit_ball(points)).to(next(self.head.parameters()).dtype)
        maxima = []
        for place, (grid, stage) in enumerate(zip(self.grids, self.stages, strict=True)):
            features = stage(grid, features)
            maxima.append(features.amax(dim=0))
            if place < len(self.steps):
                features = self.pool(self.steps[place], features)
        return self.head(torch.cat(maxima, dim=-1))

    def mapped(self, points: Tensor) -> Tensor:
        """Map points (B, N, 3) to node features (nodes, B, C): each sphere as on the grid of its level."""
        found = {name: mapping(points) for name, mapping in self.mappings.items()}
        return torch.cat([found[str(own)][sphere] for sphere, own in enumerate(self.levels)])


class _Stage(nn.Module):
    """The block of Fig. 4 on a mixed level; parameters are named as those of :class:`~csgnn_dgl.ConcentricBlock`."""

    def __init__(self, in_channels: int, intra: Sequence[int], radial: Sequence[int], kernel_size: int) -> None:
        super().__init__()
        steps = list(pairwise([in_channels, *intra, *radial]))
        self.intra = nn.ModuleList(MixedIntraConv(*step) for step in steps[: len(intra)])
        self.intra_norms = nn.ModuleList(NormReLU(width) for width in intra)
        self.radial = nn.ModuleList(MixedRadialConv(*step, kernel_size=kernel_size) for step in steps[len(intra) :])
        self.radial_norms = nn.ModuleList(NormReLU(width) for width in radial)

    def forward(self, grid: MixedLevel, features: Tensor) -> Tensor:
        """Apply all convolutions to features (nodes, B, C); one whose widths match adds its input."""
        for conv, norm in zip(self.intra, self.intra_norms, strict=True):
            result = norm(conv(grid, features))
            features = result + features if result.shape == features.shape else result
        for conv, norm in zip(self.radial, self.radial_norms, strict=True):
            features = norm(conv(grid, features))
        return features
