"""The layers on spheres of different levels: the same formulas and parameters, over the edges of a mixed level."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.graphs.heterograph import INTRA, NODE, RADIAL
from csgnn_dgl.graphs.mixed import MixedLevel, MixedPooling
from csgnn_dgl.graphs.pooling import COARSE, FINE
from csgnn_dgl.graphs.relation import PoolingRelation
from csgnn_dgl.nn.forms import check_dtypes, refers, takes_kernels
from csgnn_dgl.nn.intra import IntraSphereConv
from csgnn_dgl.nn.ops import pool as ops
from csgnn_dgl.nn.ops.intra import Edges, intra, neighbour_sum
from csgnn_dgl.nn.pool import SpherePool
from csgnn_dgl.nn.radial import RadialConv


class MixedIntraConv(IntraSphereConv):
    """Eq. 2 on a :class:`~csgnn_dgl.graphs.MixedLevel`: a graph convolution within each sphere, on its own edges.

    Parameters and attributes are those of :class:`~csgnn_dgl.IntraSphereConv`, which it is where all levels are equal.

    Shapes
    ------
    - features: (nodes, B, C); output: (nodes, B, F).
    """

    def forward(self, level: MixedLevel, features: Tensor) -> Tensor:  # type: ignore[override]
        """Convolve; see the class.

        Raises
        ------
        ValueError
            If shape or dtype of the features do not fit level or layer.
        """
        _check(features, level.num_nodes, self.in_channels)
        check_dtypes(features, self.weight)
        if refers(self.form, features):
            fn = require_dgl().function
            graph = level.graph.to(features.device)
            with graph.local_scope():
                graph.nodes[NODE].data["h"] = features
                graph.update_all(fn.copy_u("h", "message"), fn.sum("message", "sum"), etype=INTRA)
                total = graph.nodes[NODE].data["sum"]
            result = (total + features if self.self_loop else total) @ self.weight
            return result if self.bias is None else result + self.bias
        relation = (level.intra_and_self if self.self_loop else level.intra).on(features.device)
        kernels = takes_kernels(self.form, features[None], self.weight)
        return intra(features[None], self.weight, self.bias, Edges.of(relation), kernels)[0]


class MixedRadialConv(RadialConv):
    r"""Eq. 3 on a :class:`~csgnn_dgl.graphs.MixedLevel`.

    .. math:: H'_{i,u} = \sum_k (P_{i,i+k} H_{i+k})_u\,W_{k+\lfloor K/2 \rfloor} + b

    where P reads a finer sphere at the directions of sphere i, and a coarser one at these directions where it has
    vertices, else at the mean of the ends of the edge in whose middle they are. Parameters and attributes are those of
    :class:`~csgnn_dgl.RadialConv`, which it is where all levels are equal. There are no kernels for it.

    Shapes
    ------
    - features: (nodes, B, C); output: (nodes, B, F).
    """

    def forward(self, level: MixedLevel, features: Tensor) -> Tensor:  # type: ignore[override]
        """Convolve; see the class.

        Raises
        ------
        ValueError
            If shape or dtype of the features do not fit level or layer, the level was made for a smaller kernel, or the
            form is "compiled".
        """
        _check(features, level.num_nodes, self.in_channels)
        check_dtypes(features, self.weight)
        if self.form == "compiled":
            raise ValueError("form='compiled' has no kernel for spheres of different levels; use form='auto' or 'fast'")
        if self.kernel_size > level.kernel_size and level.kernel_size // 2 < level.num_spheres - 1:
            raise ValueError(
                f"the level was made with kernel_size={level.kernel_size}, the layer has {self.kernel_size}; "
                f"make it with kernel_size={self.kernel_size}"
            )
        centre = self.kernel_size // 2
        result = features @ self.weight[centre]
        taps = [offset for offset in level.offsets if abs(offset) <= centre]
        if refers(self.form, features):
            result = result + self._messages(level, features, taps)
        else:
            for offset in taps:
                result = result + level.shifted(features, offset) @ self.weight[centre + offset]
        return result if self.bias is None else result + self.bias

    def _messages(self, level: MixedLevel, features: Tensor, taps: list[int]) -> Tensor:
        fn = require_dgl().function
        graph = level.graph.to(features.device)
        centre = self.kernel_size // 2
        total = features.new_zeros(*features.shape[:2], self.out_channels)
        with graph.local_scope():
            offset, weight = (graph.edges[RADIAL].data[name] for name in ("offset", "weight"))
            for tap in taps:
                graph.nodes[NODE].data["h"] = features @ self.weight[centre + tap]
                read = (weight * (offset == tap)).to(total.dtype)
                graph.edges[RADIAL].data["read"] = read[:, None, None]
                graph.update_all(fn.u_mul_e("h", "read", "m"), fn.sum("m", "sum"), etype=RADIAL)
                total = total + graph.nodes[NODE].data["sum"]
        return total


class MixedPool(SpherePool):
    """Pooling (A.5) of those spheres that a :class:`~csgnn_dgl.graphs.MixedPooling` pools; the others stay.

    Parameters are those of :class:`~csgnn_dgl.SpherePool`, which it is where all levels are equal.

    Shapes
    ------
    - features: (fine nodes, B, C); output: (coarse nodes, B, C).
    """

    def forward(self, step: MixedPooling, features: Tensor) -> Tensor:  # type: ignore[override]
        """Pool; see the class.

        Raises
        ------
        ValueError
            If the features' shape does not fit the step.
        """
        _check(features, step.num_fine, None)
        if refers(self.form, features):
            fn = require_dgl().function
            graph = step.graph.to(features.device)
            with graph.local_scope():
                graph.nodes[FINE].data["h"] = features
                graph.update_all(fn.copy_u("h", "m"), getattr(fn, self.reduction)("m", "h"))
                return cast(Tensor, graph.nodes[COARSE].data["h"])
        relation: PoolingRelation = step.edges.on(features.device)
        rows = features.flatten(1)
        if self.reduction == "max":
            pooled = ops.neighbour_max(rows, relation, takes_kernels(self.form, features))
        else:
            pooled = neighbour_sum(rows, Edges.of(relation))
        if self.reduction == "mean":
            pooled = pooled / relation.offsets.diff()[:, None].to(pooled.dtype)
        return pooled.view(len(pooled), *features.shape[1:])


def _check(features: Tensor, num_nodes: int, channels: int | None) -> None:
    """Raise ValueError unless features are (nodes, B, C)."""
    fits = features.dim() == 3 and len(features) == num_nodes and channels in (None, features.shape[-1])
    if not (fits and torch.is_floating_point(features)):
        wanted = f"({num_nodes}, B, {'C' if channels is None else channels})"
        raise ValueError(f"features of shape (nodes, B, C) = {wanted} expected, got {tuple(features.shape)}")
