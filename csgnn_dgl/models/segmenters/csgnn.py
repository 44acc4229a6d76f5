"""CSGNN for parts: the encoder of Fig. 4, whose features of all levels are read at the points."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping import MAPPINGS, GridReading
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.csgnn import level_widths
from csgnn_dgl.models.encoder import ConcentricEncoder
from csgnn_dgl.models.segmenters.base import SEGMENTERS, Segmenter
from csgnn_dgl.nn.dropout import SharedDropout
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.pool import Reduction, overall_max


@SEGMENTERS.register("csgnn")
class CSGNNParts(Segmenter):
    """Concentric spherical GNN that says for each point of a cloud which part it lies on.

    Mapping and encoder are those of :class:`~csgnn_dgl.CSGNN`. The features of every level are read at the points
    (:class:`~csgnn_dgl.mapping.GridReading`) and put side by side, fine to coarse; the maxima over all levels say what
    the whole shape is. Three linear layers make logits of them, the same for every point.

    The logits of a point do not change when its cloud is turned by one of the 60 rotations of the icosahedron.

    Parameters
    ----------
    level
        Level l of the finest spheres, 0 to 5.
    num_spheres
        Number of spheres R.
    channels
        Input channels C: fine spheres that each sphere's features are grouped from.
    base_width
        F; intra-sphere convolutions have 8·F·2^i channels at the i-th level from the finest, radial ones 16·F·2^i.
    hidden
        Width of the linear layers between features and logits.
    kernel_size
        Odd size K of the radial kernels.
    pooling
        ``"max"``, ``"mean"`` or ``"sum"``.
    dropout
        Probability of dropping an input of the last linear layer.
    mapping
        ``"shell"`` (the published code) or ``"prism"`` (A.6); see :mod:`csgnn_dgl.mapping`.
    threshold
        T of the mapping: the kernel's value at the largest distance within a cell.
    **shared
        As in :class:`Segmenter`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = CSGNNParts(level=2, num_spheres=4, base_width=1, num_parts=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 1024, 10])
    """

    symmetry = "icosahedral"
    tiny = MappingProxyType({"level": 1, "num_spheres": 2, "channels": 2, "base_width": 1, "hidden": 16})

    def __init__(
        self,
        level: int = 3,
        num_spheres: int = 8,
        channels: int = 8,
        base_width: int = 1,
        hidden: int = 128,
        kernel_size: int = 3,
        pooling: Reduction = "max",
        dropout: float = 0.1,
        mapping: Literal["prism", "shell"] = "prism",
        threshold: float = 0.01,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        widths = level_widths(level, base_width)
        check_counts(channels=channels, base_width=base_width, hidden=hidden)
        if mapping not in MAPPINGS:
            raise ValueError(f"mapping must be one of {', '.join(MAPPINGS)}, not {mapping!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        self.mapping = MAPPINGS[mapping](level, num_spheres, channels, threshold)
        self.encoder = ConcentricEncoder(level, num_spheres, channels, widths, kernel_size, pooling)
        self.readings = nn.ModuleList(GridReading(lower, num_spheres, channels) for lower in range(level, -1, -1))
        self.local = nn.Linear(sum(self.encoder.out_channels), hidden)
        self.whole = nn.Linear(sum(self.encoder.out_channels), hidden, bias=False)
        self.head = nn.Sequential(
            NormReLU(hidden),
            nn.Linear(hidden, hidden),
            NormReLU(hidden),
            SharedDropout(dropout),
            nn.Linear(hidden, self.num_parts),
        )

    def forward(self, points: Tensor) -> Tensor:
        """Say for each point which part it lies on.

        Each cloud is divided by its largest norm. It is not centred. The sum of Eq. 1 is not normalised, so the number
        of points matters: give as many as in training.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length.

        Returns
        -------
        torch.Tensor
            (B, N, num_parts) logits.

        Raises
        ------
        ValueError
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
        """
        points = scale_to_unit_ball(points)
        features = self.mapping(points).to(self.local.weight.dtype)
        found = self.encoder(features, return_features=True)
        local = torch.cat([reading(level, points) for reading, level in zip(self.readings, found, strict=True)], dim=-1)
        whole = torch.cat([overall_max(level, self.encoder.pool.form) for level in found], dim=-1)
        return self.head(self.local(local) + self.whole(whole)[:, None])
