"""Edge convolution between the points of a cloud and their neighbours (DGCNN)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from csgnn_dgl._compilers import traced
from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.nn.forms import Form, check_form, refers, takes_kernels
from csgnn_dgl.nn.moments import Moments, num_processes
from csgnn_dgl.nn.norm import Norm, activated
from csgnn_dgl.nn.ops.intra import neighbour_sum
from csgnn_dgl.nn.ops.neighbourhoods import MOST_NEIGHBOURS, Neighbourhoods
from csgnn_dgl.nn.ops.points import gather
from csgnn_dgl.nn.ops.pool import neighbour_max_by_kernel
from csgnn_dgl.nn.ops.registry import computes_itself, transformed


class PointEdgeConv(nn.Module):
    r"""Edge convolution with batch norm, leaky ReLU and maximum (Wang et al. 2019).

    .. math:: x_i' = \max_{j \in N(i)} a\big(\mathrm{BN}(W\,[x_j - x_i;\ x_i])\big)

    Every edge is one observation of the norm in training. With W = [A B], an edge has
    :math:`y_{ij} = u_j + v_i` where :math:`u = A x` and :math:`v = (B - A) x`: two products for each point, not one for
    each edge. The norm is a line with the sign of its scale γ and the activation does not fall, so that

    .. math:: x_i' = a\big(\mathrm{BN}(v_i + \max_{j \in N(i)} u_j)\big) \quad (\gamma \ge 0), \qquad
              x_i' = a\big(\mathrm{BN}(v_i + \min_{j \in N(i)} u_j)\big) \quad (\gamma < 0).

    The moments over the edges follow from points too: if a neighbourhood has K points and :math:`d_j` is the number of
    those that point j is in, the mean is that of u, weighted by d, and that of v together; and with these taken out,

    .. math:: \sum_{ij} y_{ij}^2 = \sum_j d_j u_j^2 + \sum_i v_i \Big(2 \sum_{j \in N(i)} u_j + K v_i\Big).

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    slope
        Slope of the activation below zero.
    form
        ``"reference"``: the first equation edge by edge, with DGL message passing. The others never make a tensor of
        edges in eager mode in one process: ``"fast"`` but for the maximum, which gathers in torch, ``"compiled"`` with
        the kernel for it. ``"auto"``: compiled or fast.

    Shapes
    ------
    - features: (B, N, C); neighbours: (B, N, K) int64, places in the cloud.
    - output: (B, N, F).
    """

    def __init__(self, in_channels: int, out_channels: int, slope: float = 0.2, form: Form = "auto") -> None:
        super().__init__()
        self.linear = nn.Linear(2 * in_channels, out_channels, bias=False)
        self.norm = Norm(out_channels, slope=slope)
        self.form = check_form(form)

    def forward(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """Convolve; see the class."""
        if refers(self.form, features):
            return self._reference(features, neighbours)
        of_difference, of_point = self.linear.weight.chunk(2, dim=1)
        there, here = linear(features, of_difference), linear(features, of_point - of_difference)
        if not self.norm.measures:
            return self.norm(here + self._winning(there, neighbours, None))
        if traced() or transformed() or computes_itself(features) or num_processes() > 1:
            return self.norm(gather(there, neighbours) + here[:, :, None]).amax(dim=2)
        return self._measured(there, here, neighbours)

    def _winning(self, there: Tensor, neighbours: Tensor, edges: Neighbourhoods | None) -> Tensor:
        """Return of the neighbours' u (B, N, F) the maximum, or the minimum where the norm's scale is negative."""
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0).to(there.dtype)
        signed = there * sign
        if neighbours.shape[2] <= MOST_NEIGHBOURS and takes_kernels(self.form, signed):
            edges = Neighbourhoods.of(neighbours) if edges is None else edges
            return neighbour_max_by_kernel(signed.flatten(0, 1), edges).view(there.shape) * sign
        return gather(signed, neighbours).max(dim=2).values * sign

    def _measured(self, there: Tensor, here: Tensor, neighbours: Tensor) -> Tensor:
        """Return the output (B, N, F) by the moments over all edges."""
        dtype, count = there.dtype, neighbours.shape[2]
        wide = torch.promote_types(dtype, torch.float32)
        edges = Neighbourhoods.of(neighbours)
        times_read = edges.times_read.to(wide)
        there, here = there.to(wide), here.to(wide)
        rows_there, rows_here = there.flatten(0, 1), here.flatten(0, 1)
        mean_there, mean_here = times_read @ rows_there / neighbours.numel(), rows_here.mean(dim=0)
        rows_there, rows_here = rows_there - mean_there, rows_here - mean_here
        sums = neighbour_sum(rows_there, edges.edges)
        scatter = times_read @ rows_there.square() + (rows_here * (2 * sums + count * rows_here)).sum(dim=0)
        self.norm.check_count(neighbours.numel())
        total = torch.tensor(neighbours.numel(), dtype=torch.float64, device=there.device)
        self.norm.observe(Moments((mean_there + mean_here).detach().double(), scatter.detach().double(), total))
        winning = self._winning(rows_there.view(there.shape), neighbours, edges)
        scale = self.norm.weight * (scatter.clamp(min=0) / neighbours.numel() + self.norm.eps).rsqrt()
        normal = (rows_here.view(here.shape) + winning) * scale + self.norm.bias
        return activated(normal, self.norm.slope).to(dtype)

    def _reference(self, features: Tensor, neighbours: Tensor) -> Tensor:
        dgl = require_dgl()
        edges = Neighbourhoods.of(neighbours)
        clouds, size, count = neighbours.shape
        targets = torch.arange(clouds * size, device=features.device).repeat_interleave(count)
        graph = dgl.graph((edges.sources.long(), targets), num_nodes=clouds * size)
        graph.ndata["x"] = features.flatten(0, 1)
        graph.apply_edges(dgl.function.u_sub_v("x", "x", "difference"))
        graph.apply_edges(self._message)
        graph.update_all(dgl.function.copy_e("message", "message"), dgl.function.max("message", "x"))
        return graph.ndata["x"].unflatten(0, (clouds, size))

    def _message(self, edges: Any) -> dict[str, Tensor]:
        """Return what an edge says to its target."""
        return {"message": self.norm(self.linear(torch.cat([edges.data["difference"], edges.dst["x"]], dim=1)))}

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"form={self.form!r}"
