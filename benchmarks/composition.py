"""The composition: the same models put together from what dgl and torch offer, as one would write them at first."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.sizes import blocks_of
from csgnn_dgl._dgl import require_dgl
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosphere
from csgnn_dgl.models import CSGNN


class Composition(nn.Module):
    """CSGNN or CSGNNDOS after its mapping from ready-made parts, with the weights of a given one.

    Features are (V, B, R, C). An intra-sphere convolution is ``dgl.nn.GraphConv`` on the graph of one sphere with
    self-loops, or with `library` ``"torch"`` a gather along the edges and a sum at their ends; a radial one is
    ``nn.Conv1d`` between two permutations, or if `linear` ``nn.Linear``; pooling gathers each vertex and its neighbours
    and takes the maximum (CSGNN) or the mean (CSGNNDOS). What comes after the grid is the model's.
    """

    def __init__(self, model: Any, library: str = "dgl", linear: bool = False) -> None:
        super().__init__()
        config = model.config
        if not config["self_loop"] or config.get("pooling", "max") != "max":
            raise InputError("the composition is for models with self-loops and maximum pooling; leave it out")
        if linear and config["kernel_size"] != 1:
            raise InputError("nn.Linear stands for radial kernels of size 1 only; leave composition-linear out")
        self.classifies = isinstance(model, CSGNN)
        self.blocks, self.pools = nn.ModuleList(), nn.ModuleList()
        for depth, block in enumerate(blocks_of(model)):
            sphere = icosphere(config["level"] - depth)
            rings = torch.tensor(sphere.neighbours)
            members = torch.cat([torch.arange(len(rings))[:, None], rings], dim=1)  # a vertex and its neighbours
            target, place = (members >= 0).nonzero(as_tuple=True)
            edges, parts = torch.stack([members[target, place], target]), list[nn.Module]()
            for conv, norm in zip(block.intra, block.intra_norms, strict=True):
                made = DGLConv(edges, conv) if library == "dgl" else TorchConv(edges, conv)
                parts.append(Part(made, norm, residual=True))
            for conv, norm in zip(block.radial, block.radial_norms, strict=True):
                parts.append(Part(new_linear(conv.weight[0], conv.bias) if linear else Lines(conv), norm))
            self.blocks.append(nn.Sequential(*parts))
            if sphere.level > 0:
                coarse = members[: icosphere(sphere.level - 1).num_vertices]
                self.pools.append(Pool(coarse, self.classifies, block.intra[0].weight.dtype))
        self.head = copy.deepcopy(model.head if self.classifies else nn.Sequential(model.dense, model.output))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) or densities of states (B, num_bins)."""
        maxima = []
        for index, block in enumerate(self.blocks):
            features = block(features)
            if self.classifies:
                maxima.append(features.amax(dim=(0, 2)))
            if index < len(self.pools):
                features = self.pools[index](features)
        result: Tensor = self.head(torch.cat(maxima, dim=-1) if self.classifies else features.mean(dim=(0, 2)))
        return result


def to_composition(features: Tensor) -> Tensor:
    """Return features (R, V, B, C) as the composition takes them, (V, B, R, C)."""
    return features.permute(1, 2, 0, 3).contiguous()


def fill(module: nn.Module, **state: Tensor) -> None:
    """Give a module copies of these weights and statistics, in their dtype."""
    copies = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    module.load_state_dict(copies, assign=True)


def new_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return the linear layer of a weight (C, F)."""
    linear = nn.Linear(*weight.shape)
    fill(linear, weight=weight.T, bias=bias)
    return linear


class Part(nn.Module):
    """A convolution, batch norm, ReLU; with `residual` the input is added where the widths match."""

    def __init__(self, conv: nn.Module, norm: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.conv, self.residual = conv, residual
        state = norm.state_dict()
        self.norm = nn.BatchNorm1d(len(state["weight"]))
        fill(self.norm, **{name: state[name] for name in self.norm.state_dict()})

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(features)
        result = torch.relu(self.norm(result.reshape(-1, result.shape[-1])).view(result.shape))
        return result + features if self.residual and result.shape == features.shape else result


class Lines(nn.Module):
    """One-dimensional convolution over the spheres, between two permutations."""

    def __init__(self, radial: Any) -> None:
        super().__init__()
        kernel_size, inner, outer = radial.weight.shape
        self.conv = nn.Conv1d(inner, outer, kernel_size, padding=kernel_size // 2)
        fill(self.conv, weight=radial.weight.permute(2, 1, 0), bias=radial.bias)

    def forward(self, features: Tensor) -> Tensor:
        vertices, batch, spheres, channels = features.shape
        lines = features.reshape(vertices * batch, spheres, channels).permute(0, 2, 1)
        result: Tensor = self.conv(lines).permute(0, 2, 1).reshape(vertices, batch, spheres, -1)
        return result


class Pool(nn.Module):
    """Maximum or mean over each coarse vertex, which is the fine vertex of the same number, and its neighbours."""

    members: Tensor
    shares: Tensor

    def __init__(self, members: Tensor, maximum: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.maximum, there = maximum, members >= 0
        self.register_buffer("members", torch.where(there, members, members[:, :1]))  # the maximum takes it twice
        self.register_buffer(
            "shares", (there.double() / there.sum(dim=1, keepdim=True)).to(dtype)[..., None, None, None]
        )

    def forward(self, features: Tensor) -> Tensor:
        read = features[self.members]
        return read.amax(dim=1) if self.maximum else (read * self.shares).sum(dim=1)


class DGLConv(nn.Module):
    """``dgl.nn.GraphConv`` without degree normalisation."""

    def __init__(self, edges: Tensor, intra: Any) -> None:
        super().__init__()
        dgl = require_dgl()
        self.graph = dgl.graph((edges[0], edges[1]))
        self.conv = dgl.nn.GraphConv(*intra.weight.shape, norm="none")
        fill(self.conv, weight=intra.weight, bias=intra.bias)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(self.graph, features)
        return result


class TorchConv(nn.Module):
    """Gather along the edges, add up at their ends, ``torch.nn.Linear``."""

    edges: Tensor

    def __init__(self, edges: Tensor, intra: Any) -> None:
        super().__init__()
        self.register_buffer("edges", edges)
        self.linear = new_linear(intra.weight, intra.bias)

    def forward(self, features: Tensor) -> Tensor:
        source, target = self.edges
        result: Tensor = self.linear(torch.zeros_like(features).index_add(0, target, features[source]))
        return result
