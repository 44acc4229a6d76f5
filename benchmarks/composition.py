"""The composition: the same model put together from what dgl and torch offer, as one would write it at first."""

from __future__ import annotations

import copy
import importlib

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CSGNN
from csgnn_dgl.models.classifiers.csgnn import DEPTHS


class Composition(nn.Module):
    """CSGNN from ready-made parts, with the weights of a given one.

    Features are (V, B, R, C). An intra-sphere convolution is ``dgl.nn.GraphConv`` on the graph of one sphere with
    self-loops; a radial one is ``torch.nn.Conv1d`` between two permutations; pooling gathers each vertex and its
    neighbours and takes the maximum. Batch norm and ReLU follow each convolution.

    Parameters
    ----------
    model
        The model to copy; with self-loops, kernels of size 3 and maximum pooling, which are the defaults.
    library
        Whose graph convolution: ``"dgl"`` or ``"pyg"`` (torch_geometric).

    Raises
    ------
    ValueError
        If the model has other options.

    Shapes
    ------
    - features: (V, B, R, C); output: (B, classes) logits.
    """

    def __init__(self, model: CSGNN, library: str = "dgl") -> None:
        super().__init__()
        wanted = {"self_loop": True, "kernel_size": 3, "pooling": "max"}
        if any(model.config[name] != value for name, value in wanted.items()):
            raise ValueError(f"the composition is for models with {wanted}")
        state = model.state_dict()
        level = model.config["level"]
        self.blocks = nn.ModuleList()
        self.tables: list[Tensor] = []
        for block, (num_intra, num_radial) in enumerate(zip(*DEPTHS[level], strict=True)):
            edges = edges_of(level - block)
            parts: list[nn.Module] = []
            for index in range(num_intra):
                weight, bias = pair(state, f"encoder.blocks.{block}.intra.{index}")
                conv = DGLConv(edges, weight, bias) if library == "dgl" else _PyGConv(edges, weight, bias)
                parts.append(Intra(conv, batch_norm(state, f"encoder.blocks.{block}.intra_norms.{index}")))
            for index in range(num_radial):
                radial = conv1d(*pair(state, f"encoder.blocks.{block}.radial.{index}"))
                parts.append(Radial(radial, batch_norm(state, f"encoder.blocks.{block}.radial_norms.{index}")))
            self.blocks.append(nn.Sequential(*parts))
            if block < level:
                self.tables.append(pooling_table(edges, icosphere(level - block - 1).num_vertices))
        self.head = copy.deepcopy(model.head)

    def forward(self, features: Tensor) -> Tensor:
        """Classify features on the grid; see the class for shapes."""
        maxima = []
        for index, block in enumerate(self.blocks):
            features = block(features)
            maxima.append(features.amax(dim=(0, 2)))
            if index < len(self.tables):
                features = features[self.tables[index]].amax(dim=1)
        logits: Tensor = self.head(torch.cat(maxima, dim=-1))
        return logits


def to_composition(features: Tensor) -> Tensor:
    """Return features (R, V, B, C) as the composition takes them, (V, B, R, C)."""
    return features.permute(1, 2, 0, 3).contiguous()


class Intra(nn.Module):
    """Graph convolution, batch norm, ReLU, and the input added where the widths match."""

    def __init__(self, conv: nn.Module, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        result = normalise(self.norm, self.conv(features))
        return result + features if result.shape == features.shape else result


class Radial(nn.Module):
    """One-dimensional convolution over the spheres, batch norm, ReLU."""

    def __init__(self, conv: nn.Conv1d, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        vertices, batch, spheres, channels = features.shape
        lines = features.reshape(vertices * batch, spheres, channels).permute(0, 2, 1)
        result = self.conv(lines).permute(0, 2, 1).reshape(vertices, batch, spheres, -1)
        return normalise(self.norm, result)


def normalise(norm: nn.BatchNorm1d, features: Tensor) -> Tensor:
    return torch.relu(norm(features.reshape(-1, features.shape[-1])).view(features.shape))


def edges_of(level: int) -> Tensor:
    """Return sources and targets (2, E) of one sphere, each edge in both directions and each vertex with itself."""
    sphere = icosphere(level)
    loops = np.arange(sphere.num_vertices)
    one, other = sphere.edges.T
    return torch.from_numpy(np.stack([np.concatenate([one, other, loops]), np.concatenate([other, one, loops])]))


def pooling_table(edges: Tensor, num_coarse: int) -> Tensor:
    """Return for each coarse vertex, which is the fine vertex of the same number, the 7 it reads; one may repeat."""
    table = torch.arange(num_coarse)[:, None].repeat(1, 7)
    source, target = edges
    for vertex in range(num_coarse):
        read = source[target == vertex]
        table[vertex, : len(read)] = read
    return table


def conv1d(weight: Tensor, bias: Tensor) -> nn.Conv1d:
    kernel_size, inner, outer = weight.shape
    conv = nn.Conv1d(inner, outer, kernel_size, padding=kernel_size // 2, dtype=weight.dtype)
    conv.load_state_dict({"weight": weight.permute(2, 1, 0), "bias": bias})
    return conv


def pair(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


def batch_norm(state: dict[str, Tensor], name: str) -> nn.BatchNorm1d:
    weight = state[f"{name}.weight"]
    norm = nn.BatchNorm1d(len(weight), dtype=weight.dtype)
    norm.load_state_dict({key: state[f"{name}.{key}"] for key in norm.state_dict()})
    return norm


class DGLConv(nn.Module):
    """``dgl.nn.GraphConv`` without degree normalisation."""

    def __init__(self, edges: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        dgl = require_dgl()
        self.graph = dgl.graph((edges[0], edges[1]))
        self.conv = dgl.nn.GraphConv(*weight.shape, norm="none").to(weight.dtype)
        self.conv.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(self.graph, features)
        return result


class _PyGConv(nn.Module):
    """``torch_geometric.nn.SimpleConv``, which sums over the neighbours, then ``torch.nn.Linear``."""

    def __init__(self, edges: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.edges = edges
        self.sum = importlib.import_module("torch_geometric.nn").SimpleConv(aggr="sum")
        self.linear = nn.Linear(weight.shape[0], weight.shape[1], dtype=weight.dtype)
        self.linear.load_state_dict({"weight": weight.T, "bias": bias})

    def forward(self, features: Tensor) -> Tensor:
        total = self.sum(features.flatten(1), self.edges).view(features.shape)
        result: Tensor = self.linear(total)
        return result
