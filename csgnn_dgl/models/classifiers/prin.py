"""PRIN, spherical voxels and convolutions on the rotation group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, get_args

from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.mapping.voxels import SphericalVoxels
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.so3 import S2Convolution, SO3Convolution, SO3Fourier

Radii = Literal["mean", "channels"]
"""What becomes of the radii of the voxels: their mean is one channel, or each of them is a channel."""


@CLASSIFIERS.register("prin")
class PRIN(Classifier):
    r"""PRIN (You, Lou, Liu, Tai, Ma, Lu & Wang, AAAI 2020; with SPRIN, arXiv 2102.12093).

    Points become values on R concentric grids of 2b latitudes and 2b longitudes, by density-aware adaptive sampling
    (:class:`~csgnn_dgl.mapping.voxels.SphericalVoxels`). A convolution on the sphere and further ones on the rotation
    group, all with taps around the equator (:mod:`csgnn_dgl.nn.so3`), turn with them:

    .. math:: z(R) = \sum_t k_t\, x\big(R\, Z(\tfrac{2\pi t}{T})\, Y(\tfrac{\pi}{2})\big)

    ============= ============================= ===================================================
    step          shape                         layers
    ============= ============================= ===================================================
    voxels        (2b, 2b, B, R)                sampling; the mean over R, or R channels
    S²            (2b, 2b, 2b, B, widths[0])    convolution with bias, batch norm, ReLU
    SO(3)         (2b, 2b, 2b, B, widths[-1])   the same, once for each further width
    pooling       (B, widths[-1])               mean over γ, then maximum over latitudes and longitudes
    head          (B, num_classes)              linear layers with batch norm and ReLU, the last without
    ============= ============================= ===================================================

    With the defaults this is the one classifier that the authors published (``ModelCls`` in the repository of SPRIN):
    375,530 parameters. Its first layer, called S²×H there, gives every radius the same tap, and such a sum over a whole
    axis is the sum over the radii: whatever the tap, it sees their mean only. The network of the AAAI paper, which
    segments, takes each radius as a channel (``radii="channels"``). The comparison in the paper of CSGNN gives PRIN
    1.7 million parameters and does not say how; ``PRIN(radii="channels", widths=(100, 100, 100), head=())`` is our
    reconstruction, with 1,694,540.

    Rotations about the third axis by a multiple of π/b change nothing, but for points on the edge of a window. Others
    change the logits: through the cells that points fall into, the ReLU, which leaves the band, and the maximum over
    the grid. So does a reordering of the points in the last digits, and nothing more.

    What differs from the authors' code (github.com/qq456cvb/SPRIN, folder ``prin``; github.com/qq456cvb/PRIN;
    github.com/qq456cvb/s2cnn):

    - Windows go on across the longitude 0 (`wrap`). In theirs they end there, and the far end of a window that is wider
      than a cell lacks up to a cell, which the rounding of its edges leaves out; here it lacks nothing.
    - Both kinds of input are sampled as in SPRIN. The AAAI version has Δ = 1/R, and rounds latitudes to the nearest
      row of a grid that is shifted by half a row.
    - A point at the origin, whose direction is 0/0 in theirs, counts nowhere; points on the polar axis count for their
      whole row.
    - Clouds are divided by their largest norm, and all their points are used; theirs draw 2048 with replacement and
      leave norms as they are.
    - The scale of taps and transforms is another; the batch norm after each convolution takes it away.
    - The channels are mixed order by order, in exact arithmetic the same.

    Parameters
    ----------
    radii
        ``"mean"`` or ``"channels"``; see above.
    bandwidth
        b; cost grows with its third power.
    num_radii
        R.
    num_taps
        T; more than 2b are redundant.
    widths
        Channels of the convolutions, the first on the sphere.
    head
        Channels of the hidden layers of the head.
    wrap
        Whether the windows of the sampling go on across the longitude 0.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import torch
    >>> PRIN(bandwidth=4, num_radii=8, num_taps=8, widths=(8, 8), num_classes=10).eval()(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    tiny = MappingProxyType(
        {"radii": "channels", "bandwidth": 4, "num_radii": 4, "num_taps": 8, "widths": [4, 6], "head": [8]}
    )

    def __init__(
        self,
        radii: Radii = "mean",
        bandwidth: int = 32,
        num_radii: int = 64,
        num_taps: int = 64,
        widths: Sequence[int] = (50, 50, 50),
        head: Sequence[int] = (256, 128),
        wrap: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if radii not in get_args(Radii):
            raise ValueError(f"radii must be one of {', '.join(get_args(Radii))}, not {radii!r}")
        if not widths:
            raise ValueError("widths must name the channels of one convolution at least, not none")
        for width in (*widths, *head):
            check_counts(width=width)
        self.radii = radii
        self.voxels = SphericalVoxels(bandwidth, num_radii, wrap)
        fourier = SO3Fourier(bandwidth)
        channels = num_radii if radii == "channels" else 1
        self.layers = nn.Sequential(S2Convolution(channels, widths[0], num_taps, fourier), NormReLU(widths[0]))
        for inner, outer in pairwise(widths):
            self.layers.extend([SO3Convolution(inner, outer, num_taps, fourier), NormReLU(outer)])
        self.head = mlp(widths[-1], *head)
        self.output = nn.Linear([*widths, *head][-1], self.num_classes)

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
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
        """
        voxels = self.voxels(scale_to_unit_ball(points)).to(self.output.weight.dtype)
        if self.radii == "mean":
            voxels = voxels.mean(dim=-1, keepdim=True)
        features = self.layers(voxels)
        # The mean is a sum until after the maximum: its gradient is then a view, not a grid.
        features = features.sum(dim=2).amax(dim=(0, 1)) / features.shape[2]
        return self.output(self.head(features))
