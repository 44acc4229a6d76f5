"""Maxima over the shells that the neighbours of a point are sorted into, as ShellNet and RIConv take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.nn.forms import Form, check_form, refers, takes_kernels
from csgnn_dgl.nn.ops.neighbourhoods import MOST_NEIGHBOURS
from csgnn_dgl.nn.ops.segments import segment_max

if TYPE_CHECKING:
    import dgl


class ShellMax(nn.Module):
    r"""Maximum of what the neighbours in each shell have, after ReLU.

    .. math:: s_{p,d} = \max\big(\{0\} \cup \{v_{p,j} \,\Vert\, u_j : j \in \text{shell } d \text{ of } p\}\big)

    per channel, where v belongs to the edge from the neighbour j to the representative p, and u to the neighbour.
    A shell without neighbours has 0, the least that a ReLU leaves. No parameters.

    Parameters
    ----------
    form
        ``"reference"``: DGL message passing from points to shells; ``"fast"``: one pass over the edges sorted by shell
        in torch, which reads u where it stands; ``"compiled"``: the same by kernels on the CPU, for up to 256
        neighbours; ``"auto"``: compiled or fast.

    Shapes
    ------
    - index: (B, P, K) int64, the neighbours by shell, those of shell 0 first.
    - sizes: (B, P, D) int64, how many of them each shell has.
    - edges: (B, P, K, F), v; points: (B, N, C), u, or None.
    - output: (B, P, D, F + C).
    """

    def __init__(self, form: Form = "auto") -> None:
        super().__init__()
        self.form = check_form(form)

    def forward(self, index: Tensor, sizes: Tensor, edges: Tensor, points: Tensor | None = None) -> Tensor:
        """Take the maxima; see the class.

        Raises
        ------
        ValueError
            If the form cannot take these features.
        """
        rows = edges.reshape(-1, edges.shape[-1])
        if refers(self.form, rows):
            return self._reference(index, sizes, rows, points)
        kernel = takes_kernels(self.form, rows)
        if kernel and index.shape[-1] > MOST_NEIGHBOURS:
            if self.form == "compiled":
                raise ValueError(
                    f"form='compiled' takes up to {MOST_NEIGHBOURS} neighbours, got {index.shape[-1]}; use 'auto'"
                )
            kernel = False
        offsets = nn.functional.pad(sizes.flatten().cumsum(0), (1, 0))
        found = [segment_max(rows, None, offsets, kernel)]
        if points is not None:
            found.append(segment_max(points.flatten(0, 1), _in_batch(index, points.shape[1]), offsets, kernel))
        return torch.cat(found, dim=-1).view(*sizes.shape, -1)

    def _reference(self, index: Tensor, sizes: Tensor, rows: Tensor, points: Tensor | None) -> Tensor:
        fn = require_dgl().function
        count = int(index.max()) + 1 if points is None else points.shape[1]
        graph = shell_graph(index, sizes, count).to(rows.device)
        graph.edata["v"] = rows.relu()
        graph.update_all(fn.copy_e("v", "m"), fn.max("m", "v"))
        found = [graph.dstdata["v"]]
        if points is not None:
            graph.srcdata["u"] = points.flatten(0, 1).relu()
            graph.update_all(fn.copy_u("u", "m"), fn.max("m", "u"))
            found.append(graph.dstdata["u"])
        return torch.cat(found, dim=-1).view(*sizes.shape, -1)

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"form={self.form!r}"


def shell_graph(index: Tensor, sizes: Tensor, num_points: int) -> dgl.DGLGraph:
    """Return the bipartite graph from the points of all clouds to the shells of all representatives.

    Parameters
    ----------
    index
        (B, P, K) int64, the neighbours by shell.
    sizes
        (B, P, D) int64, how many of them each shell has.
    num_points
        Points N per cloud.

    Returns
    -------
    dgl.DGLGraph
        Of B·N points and B·P·D shells, with B·P·K edges in the order of `index`.
    """
    shells = torch.arange(sizes.numel(), device=sizes.device).repeat_interleave(sizes.flatten())
    nodes = {"point": index.shape[0] * num_points, "shell": sizes.numel()}
    edges = (_in_batch(index, num_points), shells)
    return require_dgl().heterograph({("point", "in", "shell"): edges}, num_nodes_dict=nodes)


def _in_batch(index: Tensor, num_points: int) -> Tensor:
    """Return places in clouds as places in the batch, (B·P·K,)."""
    first = torch.arange(0, index.shape[0] * num_points, num_points, device=index.device)
    return (index + first[:, None, None]).flatten()
