"""Edge convolution within spheres: a maximum over the neighbours of each vertex."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.graphs.heterograph import INTRA, NODE
from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.nn.convolution import Convolution
from csgnn_dgl.nn.forms import Form, takes_kernels
from csgnn_dgl.nn.ops.pool import neighbour_max
from csgnn_dgl.nn.ops.registry import autocast_operands


class SphereEdgeConv(Convolution):
    r"""Maximum over the neighbours within each sphere, mapped linearly, beside the vertex itself.

    .. math:: H'_{i,u} = H_{i,u} W_0 + b + \max_{w \in N(u)} H_{i,w} W_1

    The neighbours share their weights and stand in no order, so that turning the grid turns the output.

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    bias
        Whether to add b.
    form
        ``"reference"``: DGL message passing over the ``intra`` edges; ``"fast"``: a maximum over a table;
        ``"compiled"``: the maximum of a vertex while its neighbours are in the cache; ``"auto"``: compiled or fast.

    Attributes
    ----------
    weight
        W₀ and W₁, (2, C, F).
    bias
        b, (F,), or None.

    Shapes
    ------
    - graph: a level of a :class:`~csgnn_dgl.ConcentricGrid` or a heterograph of
      :func:`~csgnn_dgl.concentric_heterograph`, whose ``intra`` edges are read.
    - features: (R, V, B, C), or node features (R·V, B, C); any floating dtype.
    - output: (R, V, B, F), or (R·V, B, F).
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, form: Form = "auto") -> None:
        super().__init__(2, in_channels, out_channels, bias=bias, form=form)

    def _convolve(self, level: ConcentricLevel, features: Tensor, kernels: bool) -> Tensor:
        rows, weight = autocast_operands(features.flatten(0, 1), self.weight)
        sent = rows @ weight[1]
        kernels = takes_kernels(self.form, sent)
        heard = neighbour_max(sent.flatten(1), level.rings(rows.device), kernels)
        return linear(rows, weight[0].T, self.bias) + heard.view(sent.shape)

    def _reference(self, level: ConcentricLevel, features: Tensor) -> Tensor:
        fn = require_dgl().function
        graph = level.graph.to(features.device)
        rows = features.flatten(0, 1)
        with graph.local_scope():
            graph.nodes[NODE].data["h"] = rows @ self.weight[1]
            graph.update_all(fn.copy_u("h", "message"), fn.max("message", "heard"), etype=INTRA)
            result = rows @ self.weight[0] + graph.nodes[NODE].data["heard"]
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"{self.in_channels}, {self.out_channels}, form={self.form!r}"
