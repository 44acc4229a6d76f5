"""Intra-sphere convolution (Eq. 2): a graph convolution on the face edges within each sphere."""

from __future__ import annotations

from torch import Tensor

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.graphs.heterograph import INTRA, NODE
from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.nn.convolution import Convolution
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops.intra import Edges, intra


class IntraSphereConv(Convolution):
    r"""Graph convolution within each sphere, Eq. 2 before its nonlinearity.

    .. math:: H'_{i,u} = \Big(\sum_{v \in N(u)} H_{i,v} + s\,H_{i,u}\Big) Z + b

    with s = 1 if `self_loop` (the operator of Kipf & Welling without its degree normalisation), else 0 (Eq. 2 to the
    letter).

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    self_loop
        Whether a vertex belongs to its own neighbourhood.
    bias
        Whether to add b.
    form
        ``"reference"``: DGL message passing; ``"fast"``: the sum over a table on the narrower side of the matrix
        product; ``"compiled"``: sum and product block by block; ``"auto"``: compiled or fast.

    Attributes
    ----------
    weight
        Z, (C, F).
    bias
        b, (F,), or None.

    Shapes
    ------
    - graph: a level of a :class:`~csgnn_dgl.ConcentricGrid` or a heterograph of
      :func:`~csgnn_dgl.concentric_heterograph`, whose ``intra`` edges are read.
    - features: (R, V, B, C), or node features (R·V, B, C); any floating dtype.
    - output: (R, V, B, F), or (R·V, B, F).

    Examples
    --------
    >>> graph = concentric_heterograph(level=2, num_spheres=4)
    >>> IntraSphereConv(8, 16)(graph, torch.randn(4, 162, 32, 8)).shape
    torch.Size([4, 162, 32, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        self_loop: bool = True,
        bias: bool = True,
        form: Form = "auto",
    ) -> None:
        super().__init__(in_channels, out_channels, bias=bias, form=form)
        self.self_loop = self_loop

    def edges(self, level: ConcentricLevel, features: Tensor) -> Edges:
        """Return the edges that the layer sums over, on the device of the features."""
        return Edges.of(level.relation(features.device, self.self_loop))

    def _convolve(self, level: ConcentricLevel, features: Tensor, kernels: bool) -> Tensor:
        return intra(features, self.weight, self.bias, self.edges(level, features), kernels)

    def _reference(self, level: ConcentricLevel, features: Tensor) -> Tensor:
        fn = require_dgl().function
        graph = level.graph.to(features.device)
        with graph.local_scope():
            graph.nodes[NODE].data["h"] = features.flatten(0, 1)
            graph.update_all(fn.copy_u("h", "message"), fn.sum("message", "sum"), etype=INTRA)
            total = graph.nodes[NODE].data["sum"]
            if self.self_loop:
                total = total + graph.nodes[NODE].data["h"]
        result = total @ self.weight
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"{self.in_channels}, {self.out_channels}, self_loop={self.self_loop}, form={self.form!r}"
