"""SFCNN on one icosahedral lattice: a labelled reconstruction, SFCNN-R."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.graphs import ConcentricGrid
from csgnn_dgl.mapping.unit_ball import centre_clouds, check_clouds, scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.models.projection import SphereProjection
from csgnn_dgl.nn import NormReLU, SphereEdgeConv, SpherePool, mlp
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.pool import overall_max


@CLASSIFIERS.register("sfcnn")
class SFCNN(Classifier):
    r"""SFCNN-R, a reconstruction of the spherical fractal CNN of Rao, Lu and Zhou (CVPR 2019).

    The authors have published no code, and the text leaves widths, depths and schedule open: what is known is kept,
    the rest is a choice of this package, and every table has to say "reconstruction". Certain of the original are the
    lattice of a subdivided icosahedron, a learnt projection of the points onto one sphere, hierarchical features, and
    9.2 million parameters. With the defaults there are 9,207,976.

    1. Clouds are centred on their centroids and divided by their largest norms.
    2. Projection onto the finest lattice: for each vertex v, the K points p nearest in angle give
       :math:`(\lVert p \rVert, \cos \angle(p, v), \lVert p - v \rVert)`, which go through a shared MLP (linear, batch
       norm, ReLU) and a maximum over the K; see :class:`~csgnn_dgl.models.projection.SphereProjection`.
    3. At every level, from the finest lattice to the icosahedron, convolutions

       .. math:: f'_u = \mathrm{ReLU}(\mathrm{BN}(W_0 f_u + b + \max_{w \in N(u)} W_1 f_w))

       with N(u) the 5 or 6 neighbours of u, then the maximum over each coarse vertex and its fine neighbours.
    4. The maxima over the vertices of each level, side by side, go through linear layers with batch norm, ReLU and
       dropout.

    No step knows a direction but that of the vertices: the logits do not change when a cloud is turned by one of the
    60 rotations of the icosahedron, and change a little for others, as those of the original do. Raw offsets p - v in
    the projection, which the text can be read as, would break even the 60.

    Parameters
    ----------
    level
        Level l of the finest lattice, with 10·4^l + 2 vertices.
    num_neighbours
        Number K of points that each vertex sees; clouds need at least as many.
    projection
        Channels of the layers of the projection.
    widths
        For each level, from the finest to the icosahedron: the output channels of its convolutions.
    head
        Channels of the hidden linear layers.
    dropout
        Probability of dropping an output of each hidden linear layer.
    form
        Form of the convolutions and the pooling: ``"auto"``, ``"compiled"``, ``"fast"`` or ``"reference"``.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range, or there are not as many widths as levels.

    Examples
    --------
    >>> model = SFCNN(level=1, projection=(8, 16), widths=((16, 16), (32,)), head=(16,), num_classes=10)
    >>> model(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    symmetry = "icosahedral"
    tiny = MappingProxyType(
        {"level": 1, "num_neighbours": 8, "projection": [4, 8], "widths": [[8, 8], [16]], "head": [16, 8]}
    )

    def __init__(
        self,
        level: int = 4,
        num_neighbours: int = 16,
        projection: Sequence[int] = (64, 128),
        widths: Sequence[Sequence[int]] = ((128, 128), (256, 256), (512, 512), (1024, 1024), (1024, 1024)),
        head: Sequence[int] = (256, 128),
        dropout: float = 0.5,
        form: Form = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.grid = ConcentricGrid(level, num_spheres=1)
        if len(widths) != level + 1 or not all(widths):
            raise ValueError(
                f"widths must name the channels of one convolution or more for each of the {level + 1} levels, "
                f"not {widths!r}"
            )
        check_counts(**{f"widths[{i}][{j}]": width for i, of in enumerate(widths) for j, width in enumerate(of)})
        check_counts(**{f"head[{i}]": width for i, width in enumerate(head)})
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        self.projection = SphereProjection(level, num_neighbours, projection)
        blocks, channels = nn.ModuleList(), self.projection.out_channels
        for of_level in widths:
            pairs = list(pairwise([channels, *of_level]))
            blocks.append(
                nn.ModuleList(nn.ModuleList([SphereEdgeConv(*pair, form=form), NormReLU(pair[1])]) for pair in pairs)
            )
            channels = of_level[-1]
        self.blocks = cast("Sequence[Sequence[tuple[SphereEdgeConv, NormReLU]]]", blocks)
        self.pool = SpherePool("max", form)
        for sphere in self.grid.levels:
            sphere.rings("cpu")  # before a compiler comes by
        inner = [sum(of_level[-1] for of_level in widths), *head]
        self.head = nn.Sequential(*mlp(*inner, dropout=dropout), nn.Linear(inner[-1], self.num_classes))

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length, anywhere.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape is another, there are fewer points than neighbours, a coordinate is not finite or all points
            of a cloud coincide.
        """
        check_clouds(points)
        clouds = scale_to_unit_ball(centre_clouds(points)).to(self.blocks[0][0][0].weight.dtype)
        features = self.projection(clouds)[None]
        maxima = []
        for index, block in zip(range(self.grid.level, -1, -1), self.blocks, strict=True):
            for conv, norm in block:
                features = norm(conv(self.grid.levels[index], features))
            if index:
                features = self.pool(self.grid.steps[index], features)
            # Every vertex is in the neighbourhood of some coarse vertex: its maximum is among the pooled ones.
            maxima.append(overall_max(features, self.pool.form))
        return self.head(torch.cat(maxima, dim=-1))
