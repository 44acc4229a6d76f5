"""The block of Fig. 4: what happens at one level of the classifier before pooling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.nn.compiled import run
from csgnn_dgl.nn.forms import Form, check_features
from csgnn_dgl.nn.intra import IntraSphereConv
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.radial import RadialConv

if TYPE_CHECKING:
    import dgl


class ConcentricBlock(nn.Module):
    """Intra-sphere convolutions, then radial convolutions (Fig. 4), each with batch norm and ReLU.

    An intra-sphere convolution whose widths match adds its input after the ReLU; radial convolutions have no residual.

    Parameters
    ----------
    in_channels
        Channels of the input.
    intra_channels
        Output channels of each intra-sphere convolution.
    radial_channels
        Output channels of each radial convolution.
    kernel_size
        Size K of the radial kernels.
    self_loop, form
        As in :class:`IntraSphereConv` and :class:`RadialConv`.

    Shapes
    ------
    - graph: as in :class:`IntraSphereConv`.
    - features: (R, V, B, in_channels).
    - output: (R, V, B, out_channels), ``out_channels`` being the last width.
    """

    def __init__(
        self,
        in_channels: int,
        intra_channels: Sequence[int],
        radial_channels: Sequence[int],
        kernel_size: int = 3,
        self_loop: bool = True,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        widths = [in_channels, *intra_channels]
        self.intra = nn.ModuleList(
            IntraSphereConv(inner, outer, self_loop=self_loop, form=form) for inner, outer in pairwise(widths)
        )
        self.intra_norms = nn.ModuleList(NormReLU(width) for width in intra_channels)
        widths = [widths[-1], *radial_channels]
        self.radial = nn.ModuleList(
            RadialConv(inner, outer, kernel_size, form=form) for inner, outer in pairwise(widths)
        )
        self.radial_norms = nn.ModuleList(NormReLU(width) for width in radial_channels)
        self.in_channels, self.out_channels = in_channels, widths[-1]

    def forward(self, graph: ConcentricLevel | dgl.DGLGraph, features: Tensor) -> Tensor:
        """Apply all convolutions; see the class for shapes.

        Where all of them run compiled, they do so in one step.

        Raises
        ------
        ValueError, TypeError
            As the convolutions do.
        """
        level = ConcentricLevel.of(graph)
        grid = check_features(features, level.num_spheres * level.num_vertices, level.num_spheres, self.in_channels)
        intra: list[Any] = list(zip(self.intra, self.intra_norms, strict=True))
        radial: list[Any] = list(zip(self.radial, self.radial_norms, strict=True))
        layers = [conv.compiled(level, grid, norm, conv.in_channels == conv.out_channels) for conv, norm in intra]
        layers += [conv.compiled(level, grid, norm) for conv, norm in radial]
        if all(layers):
            grid = run(grid, layers)
        else:
            for conv, norm in intra:
                result = norm(conv(level, grid))
                grid = result + grid if conv.in_channels == conv.out_channels else result
            for conv, norm in radial:
                grid = norm(conv(level, grid))
        return grid.reshape(*features.shape[:-1], self.out_channels)
