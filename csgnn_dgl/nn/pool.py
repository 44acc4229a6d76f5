"""Pooling from one level to the next coarser one (A.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.graphs.levels import PoolingLevel
from csgnn_dgl.graphs.pooling import COARSE, FINE
from csgnn_dgl.nn.forms import Form, check_features, check_form, refers, takes_kernels
from csgnn_dgl.nn.ops import pool as ops
from csgnn_dgl.nn.ops.intra import Edges, neighbour_sum

if TYPE_CHECKING:
    import dgl

Reduction = Literal["max", "mean", "sum"]


class SpherePool(nn.Module):
    r"""Vertex-neighbourhood pooling and downsampling (A.5).

    .. math:: H^{(l-1)}_{i,u} = f(\{H^{(l)}_{i,v} : v \in N(u)\})

    where N(u) is the fine vertex u with its 5 or 6 neighbours and f is the maximum, mean or sum. No parameters.

    Parameters
    ----------
    reduction
        ``"max"``, ``"mean"`` or ``"sum"``.
    form
        ``"reference"``: DGL message passing on the bipartite graph; ``"fast"``: reductions over a table;
        ``"compiled"``: the maximum of a target while its sources are in the cache (mean and sum are as fast in torch);
        ``"auto"``: compiled or fast.

    Shapes
    ------
    - graph: a step of a :class:`~csgnn_dgl.ConcentricGrid` or a graph of :func:`~csgnn_dgl.pooling_graph`.
    - features: (R, V(l), B, C), or node features (R·V(l), B, C).
    - output: (R, V(l - 1), B, C), or (R·V(l - 1), B, C).
    """

    def __init__(self, reduction: Reduction = "max", form: Form = "auto") -> None:
        super().__init__()
        if reduction not in get_args(Reduction):
            raise ValueError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {reduction!r}")
        self.reduction = reduction
        self.form = check_form(form)

    def forward(self, graph: PoolingLevel | dgl.DGLGraph, features: Tensor) -> Tensor:
        """Pool; see the class for the formula and shapes.

        Raises
        ------
        ValueError
            If the features' shape does not fit the graph.
        TypeError
            If `graph` is no step between levels.
        """
        step = PoolingLevel.of(graph)
        num_spheres = len(features) if features.dim() == 4 else 1
        grid = check_features(features, step.num_fine, num_spheres)
        rows = grid.flatten(0, 1)
        pooled = self._reference(step, rows) if refers(self.form, rows) else self._fast(step, rows)
        return pooled if features.dim() == 3 else pooled.unflatten(0, (num_spheres, len(pooled) // num_spheres))

    def _reference(self, step: PoolingLevel, rows: Tensor) -> Tensor:
        fn = require_dgl().function
        graph = step.graph.to(rows.device)
        with graph.local_scope():
            graph.nodes[FINE].data["h"] = rows
            graph.update_all(fn.copy_u("h", "m"), getattr(fn, self.reduction)("m", "h"))
            return graph.nodes[COARSE].data["h"]

    def _fast(self, step: PoolingLevel, rows: Tensor) -> Tensor:
        relation = step.relation(rows.device)
        if self.reduction == "max":
            pooled = ops.neighbour_max(rows.flatten(1), relation, takes_kernels(self.form, rows))
        else:
            pooled = neighbour_sum(rows.flatten(1), Edges.of(relation))
        if self.reduction == "mean":
            pooled = pooled / relation.offsets.diff()[:, None].to(pooled.dtype)
        return pooled.view(len(pooled), *rows.shape[1:])

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"{self.reduction!r}, form={self.form!r}"


def overall_max(features: Tensor, form: Form = "auto") -> Tensor:
    """Maximum over all vertices and spheres; the gradient goes to one of equal vertices.

    Parameters
    ----------
    features
        (R, V, B, C) real numbers.
    form
        As in :class:`SpherePool`; the reference is that of torch.

    Returns
    -------
    torch.Tensor
        (B, C).

    Raises
    ------
    ValueError
        If the features have other axes, or `form` cannot take them.
    """
    if features.dim() != 4:
        raise ValueError(f"features of shape (R, V, B, C) expected, got {tuple(features.shape)}")
    return ops.overall_max(features, takes_kernels(form, features))
