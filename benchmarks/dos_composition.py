"""The composition of the model of the density of states, as one would write it at first."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmarks.composition import DGLConv, Intra, Radial, batch_norm, conv1d, edges_of, normalise, pair, pooling_table
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CSGNNDOS


class DOSComposition(nn.Module):
    """CSGNNDOS after its mapping from ready-made parts, with the weights of a given one.

    Features are (V, B, R, C). Convolutions are those of :class:`~benchmarks.composition.Composition`; pooling gathers
    each vertex and its neighbours and takes the mean. The dense layers and the output are the model's.

    Parameters
    ----------
    model
        The model to copy; with self-loops and 1×1 kernels, which are the defaults with one sphere.
    linear
        Whether ``torch.nn.Linear`` stands for the 1×1 radial convolutions, in place of ``torch.nn.Conv1d`` between two
        permutations.

    Raises
    ------
    ValueError
        If the model has other options.

    Shapes
    ------
    - features: (V, B, R, C); output: (B, num_bins) states per eV.
    """

    def __init__(self, model: CSGNNDOS, linear: bool = False) -> None:
        super().__init__()
        wanted = {"self_loop": True, "kernel_size": 1}
        if any(model.config[name] != value for name, value in wanted.items()):
            raise ValueError(f"the composition is for models with {wanted}")
        state = model.state_dict()
        level = model.config["level"]
        self.blocks = nn.ModuleList()
        self.pools: list[tuple[Tensor, Tensor]] = []
        for block in range(level + 1):
            edges = edges_of(level - block)
            num_intra, num_radial = (2, 2) if block < level else (1, 0)
            parts: list[nn.Module] = []
            for index in range(num_intra):
                conv = DGLConv(edges, *pair(state, f"encoder.blocks.{block}.intra.{index}"))
                parts.append(Intra(conv, batch_norm(state, f"encoder.blocks.{block}.intra_norms.{index}")))
            for index in range(num_radial):
                weight, bias = pair(state, f"encoder.blocks.{block}.radial.{index}")
                norm = batch_norm(state, f"encoder.blocks.{block}.radial_norms.{index}")
                parts.append(_Linear(_linear(weight, bias), norm) if linear else Radial(conv1d(weight, bias), norm))
            self.blocks.append(nn.Sequential(*parts))
            if block < level:
                self.pools.append(
                    _mean_pool(edges, icosphere(level - block - 1).num_vertices, model.output.bins.weight.dtype)
                )
        self.dense, self.output = copy.deepcopy(model.dense), copy.deepcopy(model.output)

    def forward(self, features: Tensor) -> Tensor:
        """Predict the DOS of atoms from features on the grid; see the class for shapes."""
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index < len(self.pools):
                table, shares = self.pools[index]
                features = (features[table] * shares).sum(dim=1)
        dos: Tensor = self.output(self.dense(features.mean(dim=(0, 2))))
        return dos


class _Linear(nn.Module):
    """Linear layer, batch norm, ReLU."""

    def __init__(self, linear: nn.Linear, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.conv = linear
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        return normalise(self.norm, self.conv(features))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    _, inner, outer = weight.shape
    linear = nn.Linear(inner, outer, dtype=weight.dtype)
    linear.load_state_dict({"weight": weight[0].T, "bias": bias})
    return linear


def _mean_pool(edges: Tensor, num_coarse: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return for each coarse vertex the 7 it reads, (V, 7), and their shares, (V, 7, 1, 1, 1): 0 where one repeats."""
    table = pooling_table(edges, num_coarse)
    count = torch.bincount(edges[1])[:num_coarse, None]
    shares = torch.where(torch.arange(table.shape[1]) < count, 1 / count.to(dtype), 0.0)
    return table, shares[..., None, None, None]
