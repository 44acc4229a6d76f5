"""Graphs of the representatives of a cloud with weights by distance, and means over neighbours in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.nn.forms import Form, check_form, refers

if TYPE_CHECKING:
    import dgl


def squared_distances(points: Tensor) -> Tensor:
    """Return the squared distances (B, P, P) between the points (B, P, D) of each cloud, as sums of squares."""
    return sum((axis[:, :, None] - axis[:, None, :]).square() for axis in points.unbind(-1))  # type: ignore[return-value]


def affinity(squared: Tensor, count: int) -> Tensor:
    r"""Return the normalised affinities :math:`\hat A = D^{-1/2}(A + I)D^{-1/2}` of each cloud.

    .. math:: A_{ij} = e^{-d_{ij}^2 / \mathrm{Var}_j(d_{ij}^2)}

    for j ≠ i whose squared distance is below the `count`-th smallest of row i, itself included, which leaves
    `count` - 2 neighbours; 0 otherwise. Of A and its transpose the larger is taken; D are the row sums of A + I.

    Parameters
    ----------
    squared
        (B, P, P) squared distances.
    count
        Which smallest distance bounds the neighbourhoods, at most P.

    Returns
    -------
    torch.Tensor
        (B, P, P).
    """
    limit = squared.topk(count, largest=False, sorted=True).values[..., -1:]
    weights = torch.where(squared < limit, (-squared / _spread(squared)).exp(), 0.0)
    weights = torch.maximum(weights, weights.mT)
    weights.diagonal(dim1=1, dim2=2).fill_(1.0)
    scale = weights.sum(dim=-1).rsqrt()
    return scale[:, :, None] * weights * scale[:, None, :]


def affinity_graph(squared: Tensor, count: int) -> dgl.DGLGraph:
    """Return the graph whose edges are the non-zero affinities, with these as edge data ``"weight"``.

    All clouds are in one graph; node b·P + i is point i of cloud b.

    Parameters
    ----------
    squared, count
        As in :func:`affinity`.

    Returns
    -------
    dgl.DGLGraph
        With B·P nodes.
    """
    dgl = require_dgl()
    fn = dgl.function
    clouds, size, _ = squared.shape
    distance, index = squared.topk(count, largest=False, sorted=True)
    own = torch.arange(size, device=squared.device)[:, None]
    near = (distance < distance[..., -1:]) & (index != own)
    weight = (-distance / _spread(squared)).exp()[near]
    first = size * torch.arange(clouds, device=squared.device)[:, None, None]
    tail, head = (first + own).expand_as(near)[near], (first + index)[near]
    nodes = torch.arange(clouds * size, device=squared.device)
    both = dgl.graph((torch.cat([tail, head, nodes]), torch.cat([head, tail, nodes])), num_nodes=clouds * size)
    graph, edge = dgl.to_simple(both, return_counts=None, writeback_mapping=True)
    weight = torch.cat([weight, weight, torch.ones_like(nodes, dtype=weight.dtype)])
    largest = weight.new_zeros(graph.num_edges()).scatter_reduce(0, edge, weight, "amax")
    with graph.local_scope():
        graph.edata["weight"] = largest
        graph.update_all(fn.copy_e("weight", "message"), fn.sum("message", "degree"))
        graph.ndata["scale"] = graph.ndata["degree"].rsqrt()
        graph.apply_edges(fn.u_mul_v("scale", "scale", "scale"))
        normalised = largest * graph.edata["scale"]
    graph.edata["weight"] = normalised
    return graph


class AffinityMean(nn.Module):
    r"""Weighted mean over neighbours, :math:`F \mapsto \hat A F`. No parameters.

    Parameters
    ----------
    form
        ``"reference"``: DGL message passing on the weighted graph of :func:`affinity_graph`; ``"fast"`` and
        ``"auto"``: a product with the dense matrix of :func:`affinity`, which few points allow.

    Raises
    ------
    ValueError
        If the form is another.

    Shapes
    ------
    - features: (B, P, C); squared: (B, P, P) squared distances; output: (B, P, C).
    """

    def __init__(self, form: Form = "auto") -> None:
        super().__init__()
        if check_form(form) == "compiled":
            raise ValueError("form='compiled' has no kernels for affinities; use form='auto', 'fast' or 'reference'")
        self.form = form

    def forward(self, features: Tensor, squared: Tensor, count: int) -> Tensor:
        """Take means; see the class for shapes and :func:`affinity` for `count`."""
        if not refers(self.form, features):
            return affinity(squared, count).to(features.dtype) @ features
        fn = require_dgl().function
        graph = affinity_graph(squared, count)
        graph.ndata["h"] = features.flatten(0, 1)
        graph.edata["weight"] = graph.edata["weight"].to(features.dtype)
        graph.update_all(fn.u_mul_e("h", "weight", "message"), fn.sum("message", "mean"))
        return graph.ndata["mean"].view(features.shape)

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"form={self.form!r}"


def _spread(squared: Tensor) -> Tensor:
    """Variance of each row (B, P, 1), above 0 where all points lie in one place."""
    variance = (squared - squared.mean(dim=-1, keepdim=True)).square().mean(dim=-1, keepdim=True)
    return variance.clamp(min=torch.finfo(squared.dtype).tiny)
