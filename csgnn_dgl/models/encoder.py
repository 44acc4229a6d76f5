"""The concentric encoder: what CSGNN models have between the mapping onto the grid and their heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl.graphs.grid import ConcentricGrid
from csgnn_dgl.models.recompute import recomputed
from csgnn_dgl.models.trust import imported
from csgnn_dgl.nn.block import ConcentricBlock
from csgnn_dgl.nn.forms import Form, check_features
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.pool import Reduction, SpherePool

MakeConv = str | Callable[[int, int], nn.Module] | None
"""What makes a convolution from its input and output channels, or the path that it is imported by."""


class ConcentricEncoder(nn.Module):
    """Features on the finest spheres to features on the icosahedron, level by level (Fig. 4).

    At every level, intra-sphere (Eq. 2) and radial convolutions (Eq. 3) follow each other, then pooling to the next
    coarser level (A.5). Turning the input by one of the 60 rotations of the icosahedron turns the features of each
    level.

    Parameters
    ----------
    level
        Level l of the finest spheres.
    num_spheres
        Number of spheres R.
    channels
        Input channels C.
    widths
        For each level, from the finest to the icosahedron: the output channels of its intra-sphere convolutions, and
        of its radial ones.
    kernel_size
        Odd size K of the radial kernels.
    pooling
        ``"max"``, ``"mean"`` or ``"sum"``.
    self_loop
        Whether a vertex belongs to its own neighbourhood in Eq. 2.
    form
        Form of every layer: ``"auto"``, ``"compiled"``, ``"fast"`` or ``"reference"``.
    recompute
        Whether to keep only the features between the levels for the gradient, and to compute each level a second time
        when its gradient is due: the same bits in less memory and more time.
    make_intra, make_radial
        Other convolutions than the paper's, as functions or import paths; see :class:`~csgnn_dgl.ConcentricBlock`.
    make_norm
        Other norm and activation than the paper's; see :class:`~csgnn_dgl.ConcentricBlock`.

    Attributes
    ----------
    out_channels
        Channels of the features of each level, from the finest.

    Shapes
    ------
    - features: (R, V, B, C), or node features (R·V, B, C).
    - output: (R, 12, B, out_channels[-1]); with `return_features` a list of the features (R, V(i), B, out_channels[i])
      of every level, from the finest, as they are before pooling.

    Raises
    ------
    ValueError
        If an argument is out of its range, or there are not as many widths as levels.

    Examples
    --------
    >>> encoder = ConcentricEncoder(level=1, num_spheres=3, channels=2, widths=[([8], [16]), ([16], [32])])
    >>> encoder(torch.rand(3, 42, 5, 2)).shape
    torch.Size([3, 12, 5, 32])
    >>> [features.shape[1] for features in encoder(torch.rand(3, 42, 5, 2), return_features=True)]
    [42, 12]
    """

    def __init__(
        self,
        level: int,
        num_spheres: int,
        channels: int,
        widths: Sequence[tuple[Sequence[int], Sequence[int]]],
        kernel_size: int = 3,
        pooling: Reduction = "max",
        self_loop: bool = True,
        form: Form = "auto",
        recompute: bool = False,
        make_intra: MakeConv = None,
        make_radial: MakeConv = None,
        make_norm: Callable[[int], nn.Module] = NormReLU,
    ) -> None:
        super().__init__()
        makers = imported(make_intra), imported(make_radial)
        self.grid = ConcentricGrid(level, num_spheres, kernel_size)
        if len(widths) != level + 1:
            raise ValueError(f"widths must have a pair for each of the {level + 1} levels, not {len(widths)}")
        self.recompute = recompute
        self.blocks = nn.ModuleList()
        self.out_channels: list[int] = []
        for intra, radial in widths:
            block = ConcentricBlock(channels, intra, radial, kernel_size, self_loop, form, *makers, make_norm)
            self.blocks.append(block)
            channels = block.out_channels
            self.out_channels.append(channels)
        self.pool = SpherePool(pooling, form)

    def forward(self, features: Tensor, return_features: bool = False) -> Any:
        """Encode; see the class for shapes.

        Raises
        ------
        ValueError
            If the shape does not fit the grid.
        """
        last, found = self.read(features, lambda features, pooled: features if return_features else None)
        return found if return_features else last

    def read(self, features: Tensor, readout: Callable[[Tensor, Tensor], Any]) -> tuple[Tensor, list[Any]]:
        """Encode, and take something down at every level while its features are there.

        Parameters
        ----------
        features
            As in `forward`.
        readout
            Called with the features (R, V(i), B, C) of a level, and with those that pooling made of them; with the
            former twice on the icosahedron.

        Returns
        -------
        torch.Tensor
            The features on the icosahedron.
        list
            What `readout` returned, from the finest level.
        """
        finest, found = self.grid.levels[-1], []
        features = check_features(features, finest.num_spheres * finest.num_vertices, finest.num_spheres)
        for index, block in zip(range(self.grid.level, -1, -1), self.blocks, strict=True):
            step = partial(self._at_level, index, block, readout)
            if self.recompute and torch.is_grad_enabled():
                features, result = recomputed(step, block, features)
            else:
                features, result = step(features)
            found.append(result)
        return features, found

    def _at_level(
        self, index: int, block: nn.Module, readout: Callable[[Tensor, Tensor], Any], features: Tensor
    ) -> tuple[Tensor, Any]:
        """Return the features for the next coarser level, and what `readout` makes of this one."""
        features = block(self.grid.levels[index], features)
        pooled = self.pool(self.grid.steps[index], features) if index > 0 else features
        return pooled, readout(features, pooled)
