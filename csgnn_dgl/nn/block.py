"""The block of Fig. 4: what happens at one level of the classifier before pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.nn.forms import Form, check_features
from csgnn_dgl.nn.intra import IntraSphereConv
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.ops.block import Layer, block
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
    make_intra, make_radial
        Make a convolution from its input and output channels, in place of :class:`IntraSphereConv` with `self_loop`
        and `form`, and of :class:`RadialConv` with `kernel_size` and `form`. A convolution is called with a
        :class:`~csgnn_dgl.graphs.ConcentricLevel` and features (R, V, B, C).
    make_norm
        Makes what follows a convolution from its output channels, in place of :class:`NormReLU`.

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
        make_intra: Callable[[int, int], nn.Module] | None = None,
        make_radial: Callable[[int, int], nn.Module] | None = None,
        make_norm: Callable[[int], nn.Module] = NormReLU,
    ) -> None:
        super().__init__()
        make_intra = make_intra or partial(IntraSphereConv, self_loop=self_loop, form=form)
        make_radial = make_radial or partial(RadialConv, kernel_size=kernel_size, form=form)
        widths = [in_channels, *intra_channels, *radial_channels]
        steps = list(pairwise(widths))
        self.intra = nn.ModuleList(make_intra(*step) for step in steps[: len(intra_channels)])
        self.intra_norms = nn.ModuleList(make_norm(width) for width in intra_channels)
        self.radial = nn.ModuleList(make_radial(*step) for step in steps[len(intra_channels) :])
        self.radial_norms = nn.ModuleList(make_norm(width) for width in radial_channels)
        self.in_channels, self.out_channels = in_channels, widths[-1]
        self._residual = [inner == outer for inner, outer in steps[: len(intra_channels)]]

    def forward(self, graph: ConcentricLevel | dgl.DGLGraph, features: Tensor) -> Tensor:
        """Apply all convolutions; see the class for shapes.

        Neighbouring convolutions that use the kernels run in one step with their norms, unless one of them has hooks or
        a `forward` of its own.

        Raises
        ------
        ValueError, TypeError
            As the convolutions do.
        """
        level = ConcentricLevel.of(graph)
        grid = check_features(features, level.num_spheres * level.num_vertices, level.num_spheres, self.in_channels)
        pending: list[tuple[Layer, Any]] = []
        pairs = [*zip(self.intra, self.intra_norms, strict=True), *zip(self.radial, self.radial_norms, strict=True)]
        residuals = [*self._residual, *(False for _ in self.radial)]
        for (conv, norm), residual in zip(pairs, residuals, strict=True):
            if (layer := _layer(conv, norm, residual, level, grid)) is not None:
                pending.append((layer, norm))
                continue
            grid = _fused(grid, pending)
            pending = []
            result = norm(conv(level, grid))
            grid = result + grid if residual else result
        return _fused(grid, pending).reshape(*features.shape[:-1], self.out_channels)


def _layer(conv: Any, norm: Any, residual: bool, level: ConcentricLevel, features: Tensor) -> Layer | None:
    """Return a convolution and its norm as they run fused, or None where they do not."""
    kind = next((kind for kind in (IntraSphereConv, RadialConv) if isinstance(conv, kind)), None)
    if kind is None or not (_untouched(conv, kind) and _untouched(norm, NormReLU)):
        return None
    if not conv.takes_kernels(level, features):
        return None
    bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
    edges = conv.edges(level, features)[:4] if kind is IntraSphereConv else ()
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.measures)
    return Layer(conv.weight, bias, norm.weight, norm.bias, *statistics, residual, edges)


def _untouched(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether to call a module is to call the forward of its kind and nothing else."""
    hooks = (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks)
    return (
        type(module).forward is kind.forward
        and "forward" not in vars(module)
        and module._compiled_call_impl is None
        and not any(hooks)
        and not _has_any_global_hook()
    )


def _fused(features: Tensor, pending: Sequence[tuple[Layer, NormReLU]]) -> Tensor:
    """Apply layers in one step, and let their norms observe what they measured."""
    if not pending:
        return features
    for layer, norm in pending:
        if layer.measured:
            norm.check_count(features[..., 0].numel())
    result, moments = block(features, [layer for layer, _ in pending])
    for norm, found in zip((norm for layer, norm in pending if layer.measured), moments, strict=True):
        norm.observe(found)
    return result
