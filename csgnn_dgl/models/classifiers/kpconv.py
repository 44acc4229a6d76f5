"""KPConv, whose convolutions have their weights at points in space."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.nn.kernel_points import KernelPointConv
from csgnn_dgl.nn.norm import Norm
from csgnn_dgl.nn.ops.ragged import Neighbourhoods, coarser, grid_subsampling, within_radius

NUM_LEVELS = 5
RADIUS = 2.5
"""Radius r of a convolution, in cells of its grid."""
EXTENT = 1.2
"""Reach σ of a kernel point, in cells of its grid."""
SLOPE = 0.1
MOMENTUM = 0.05


@CLASSIFIERS.register("kpconv")
class KPConv(Classifier):
    r"""KPConv with rigid kernels (Thomas et al., ICCV 2019), as in the authors' PyTorch code for ModelNet40.

    The cloud is divided by its largest norm and replaced by the barycentres of the cells of a grid; at each of four
    further levels the cells are twice as large. All points begin with the feature 1. One convolution
    (:class:`~csgnn_dgl.nn.kernel_points.KernelPointConv`) and 13 residual blocks follow, four of which lead to the next
    level; then the mean over the cloud's points at the last level and two linear layers. At level l, with cells
    d = cell_size · 2^l, neighbourhoods have the radius 2.5·d, and kernel points reach σ = 1.2·d far. With the defaults
    there are 6,143,688 parameters.

    A block is

    .. math:: f \leftarrow s\big(B_2\, s(N(K * s(N(B_1 f)))) + S f\big), \quad s(x) = \max(x, 0.1\,x)

    where B are linear with batch norm N, to a quarter of the width and back, K* is the convolution and S f is f
    itself, or linear with batch norm where the width changes, of the maximum over the neighbours where a block leads to
    the next level.

    The authors' code differs from this one in that

    - it has cells of 0.02 for about 6,800 points; with 1024, cells of 0.06 give neighbourhoods as full as theirs;
    - it puts a cloud on the first grid before augmentation, and this one after it, within the model;
    - it pads neighbourhoods with a far point of features 0, which takes part in maxima, so that an answer depends on
      the largest neighbourhood of the batch; here only neighbours take part;
    - it keeps at most as many neighbours as nine in ten points have, here all stay;
    - its weights are drawn within ±1/√(C·F), which the batch norm after each convolution undoes, and here within
      ±1/√(K·C).

    The grid is fixed in space, and so are the kernel points: no rotation leaves the answer as it is. The order of the
    points does not matter.

    Parameters
    ----------
    width
        Width of the blocks of the first level, a multiple of 4; it doubles at each of the others.
    cell_size
        Edge of the first grid's cells, from 0.001 to 1, for clouds in the unit ball.
    hidden
        Width of the first linear layer of the head.
    seed
        Seed of the kernel points' noise and angles, which are kept in the checkpoint.
    form
        ``"reference"``: DGL message passing along the edges of neighbourhoods. ``"fast"``: the same in torch, with the
        kernel points near each neighbour alone. ``"auto"`` is fast.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = KPConv(width=8, cell_size=0.2, num_classes=10).eval()
    >>> model(torch.randn(5, 256, 3)).shape
    torch.Size([5, 10])
    """

    tiny = MappingProxyType({"width": 8, "cell_size": 0.2, "hidden": 16})
    one_graph = False  # how many barycentres and neighbours there are depends on the points

    def __init__(
        self,
        width: int = 64,
        cell_size: float = 0.06,
        hidden: int = 1024,
        seed: int = 0,
        form: Literal["auto", "fast", "reference"] = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_counts(width=width, hidden=hidden)
        check_counts(0, seed=seed)
        if width % 4:
            raise ValueError(f"width must be a multiple of 4, not {width!r}")
        if not 1e-3 <= cell_size <= 1:
            raise ValueError(f"cell_size must be from 0.001 to 1, not {cell_size!r}")
        if form not in ("auto", "fast", "reference"):
            raise ValueError(f"form must be one of auto, fast, reference, not {form!r}")
        self.cell_size = cell_size
        generator = torch.Generator().manual_seed(seed)

        def conv(level: int, inner: int, outer: int) -> KernelPointConv:
            cell = cell_size * 2**level
            return KernelPointConv(inner, outer, RADIUS * cell, EXTENT * cell, generator, reference=form == "reference")

        self.first = Simple(conv(0, 1, width // 2))
        self.blocks = nn.ModuleList()
        inner = width // 2
        for level in range(NUM_LEVELS):
            outer = width * 2**level
            count = 1 if level == 0 else 2
            strides = [False] * count + [True] * (level < NUM_LEVELS - 1)
            for strided in strides:
                self.blocks.append(Bottleneck(inner, outer, conv(level, outer // 4, outer // 4), strided))
                inner = outer
        self.head = nn.Sequential(nn.Linear(inner, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, self.num_classes))

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length, any number of points.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
        """
        if points.dim() != 3 or points.shape[-1] != 3 or 0 in points.shape:
            raise ValueError(f"points of shape (B, N, 3) with B, N > 0 expected, got {tuple(points.shape)}")
        radius = RADIUS * self.cell_size
        clouds = grid_subsampling(scale_to_unit_ball(points), self.cell_size)
        neighbourhoods = within_radius(clouds, clouds, radius)
        features = self.first(neighbourhoods, clouds.points.new_ones(len(clouds.points), 1))
        for block in self.blocks:
            if block.strided:
                finer, clouds = clouds, coarser(clouds)
                features = block(within_radius(finer, clouds, radius), features)
                radius = 2 * radius
                neighbourhoods = within_radius(clouds, clouds, radius)
            else:
                features = block(neighbourhoods, features)
        return self.head(clouds.mean(features))


class Simple(nn.Module):
    """A convolution with batch norm and activation.

    Shapes
    ------
    - neighbourhoods: of M queries among P points; features: (P, C); output: (M, F).
    """

    def __init__(self, conv: KernelPointConv) -> None:
        super().__init__()
        self.conv = conv
        self.norm = Norm(conv.weight.shape[-1], momentum=MOMENTUM, slope=SLOPE)

    def forward(self, neighbourhoods: Neighbourhoods, features: Tensor) -> Tensor:
        """Convolve; see the class."""
        return self.norm(self.conv(neighbourhoods, features))


class Bottleneck(nn.Module):
    """A residual block with a convolution at a quarter of its width; see :class:`KPConv`.

    Parameters
    ----------
    inner, outer
        Channels C of its input and F of its output.
    conv
        The convolution in it.
    strided
        Whether it leads to other points than those of its input.

    Shapes
    ------
    - neighbourhoods: of M queries among P points; features: (P, C); output: (M, F).
    """

    def __init__(self, inner: int, outer: int, conv: KernelPointConv, strided: bool) -> None:
        super().__init__()
        narrow = conv.weight.shape[1]
        self.strided = strided
        self.before = unary(inner, narrow, SLOPE) if inner != narrow else nn.Identity()
        self.conv = Simple(conv)
        self.after = unary(narrow, outer, 1.0)
        self.shortcut = unary(inner, outer, 1.0) if inner != outer else nn.Identity()

    def forward(self, neighbourhoods: Neighbourhoods, features: Tensor) -> Tensor:
        """Apply the block; see the class."""
        shortcut = neighbourhoods.maximum(features) if self.strided else features
        found = self.after(self.conv(neighbourhoods, self.before(features)))
        return leaky_relu(found + self.shortcut(shortcut), SLOPE)


def unary(inner: int, outer: int, slope: float) -> nn.Sequential:
    """Return a linear layer without bias, batch norm and an activation by its slope."""
    return nn.Sequential(nn.Linear(inner, outer, bias=False), Norm(outer, momentum=MOMENTUM, slope=slope))
