"""Radial convolution (Eq. 3): a one-dimensional convolution over co-radial vertices."""

from __future__ import annotations

from torch import Tensor

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.graphs.heterograph import NODE, RADIAL
from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.graphs.tables import check_kernel_size
from csgnn_dgl.nn.convolution import Convolution
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops.library import MAX_TAPS
from csgnn_dgl.nn.ops.radial import radial


class RadialConv(Convolution):
    r"""Convolution between spheres, Eq. 3 before its nonlinearity.

    .. math:: H'_{i,u} = \sum_{k=-\lfloor K/2 \rfloor}^{\lfloor K/2 \rfloor} H_{i+k,u}\,W_{k+\lfloor K/2 \rfloor} + b

    where spheres outside 0 ... R - 1 count as zero.

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    kernel_size
        Odd K. With one sphere only the centre tap acts.
    bias
        Whether to add b.
    form
        ``"reference"``: DGL message passing over the ``radial`` edges, one offset at a time; ``"fast"``: one matrix
        product per tap on contiguous slices; ``"compiled"``: all taps of a block of vertices at once; ``"auto"``:
        compiled or fast, and over the radial edges that the graph has once they were edited.

    Attributes
    ----------
    weight
        W, (K, C, F); tap K // 2 is the sphere itself, smaller taps are the spheres inside.
    bias
        b, (F,), or None.

    Shapes
    ------
    - graph: a level of a :class:`~csgnn_dgl.ConcentricGrid` or a heterograph of
      :func:`~csgnn_dgl.concentric_heterograph` built for a kernel of at least this size.
    - features: (R, V, B, C), or node features (R·V, B, C); any floating dtype.
    - output: (R, V, B, F), or (R·V, B, F).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        bias: bool = True,
        form: Form = "auto",
    ) -> None:
        check_kernel_size(kernel_size)
        super().__init__(kernel_size, in_channels, out_channels, bias=bias, form=form)
        self.kernel_size = kernel_size

    def takes_kernels(self, level: ConcentricLevel, features: Tensor) -> bool:
        """Say whether the layer uses the kernels for features (R, V, B, C), or raise ValueError as `forward` does."""
        complete = level.has_radial_kernel(self.kernel_size)
        if self.form in ("fast", "compiled") and not complete:
            raise ValueError(
                f"the radial edges that a kernel of size {self.kernel_size} reads are not those of concentric spheres; "
                "use form='reference' to convolve over the edges that it has"
            )
        if not complete and self.kernel_size > level.kernel_size:
            raise ValueError(
                f"the graph was built with kernel_size={level.kernel_size}, the layer has {self.kernel_size}; "
                f"build the graph with kernel_size={self.kernel_size}"
            )
        return complete and self.kernel_size <= MAX_TAPS and super().takes_kernels(level, features)

    def _form_on(self, level: ConcentricLevel) -> Form:
        return self.form if level.has_radial_kernel(self.kernel_size) else "reference"

    def _convolve(self, level: ConcentricLevel, features: Tensor, kernels: bool) -> Tensor:
        return radial(features, self.weight, self.bias, kernels)

    def _reference(self, level: ConcentricLevel, features: Tensor) -> Tensor:
        fn = require_dgl().function
        graph = level.graph.to(features.device)
        centre = self.kernel_size // 2
        nodes = features.flatten(0, 1)
        result = nodes @ self.weight[centre]
        with graph.local_scope():
            offset = graph.edges[RADIAL].data["offset"]
            for tap in range(self.kernel_size):
                if tap == centre or not (offset == tap - centre).any():
                    continue
                graph.nodes[NODE].data["h"] = nodes @ self.weight[tap]
                graph.edges[RADIAL].data["read"] = (offset == tap - centre).to(result.dtype)[:, None, None]
                graph.update_all(fn.u_mul_e("h", "read", "m"), fn.sum("m", "sum"), etype=RADIAL)
                result = result + graph.nodes[NODE].data["sum"]
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, form={self.form!r}"
