"""Modules from outside the package: models that know nothing of it but how they are called, and a convolution."""

from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl import IntraSphereConv


class Bag(nn.Module):
    """A classifier that takes the maximum over all points of features of each."""

    def __init__(self, num_classes: int = 40, width: int = 8) -> None:
        super().__init__()
        self.point = nn.Linear(3, width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.point(points).relu().amax(dim=1))


class Counting(nn.Module):
    """A model of the DOS that counts the neighbours of each atom."""

    def __init__(self, num_bins: int = 310, cutoff: float = 7.0, elements: tuple[int, ...] = (6,)) -> None:
        super().__init__()
        self.num_bins, self.cutoff, self.elements = num_bins, cutoff, elements
        self.levels = nn.Linear(1, num_bins)

    def atom_dos(self, environments: Any) -> Tensor:
        counts = torch.bincount(environments.centre, minlength=len(environments))
        return nn.functional.softplus(self.levels(counts[:, None].to(self.levels.weight) / 100))

    def forward(self, environments: Any, snapshot: Tensor, num_snapshots: int) -> Tensor:
        members = nn.functional.one_hot(snapshot, num_snapshots).T.to(self.levels.weight)
        return members @ self.atom_dos(environments) / members.sum(dim=1, keepdim=True)


class TwoWeights(nn.Module):
    """An intra-sphere convolution with one matrix for the vertex itself and another for its neighbours."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.root = nn.Linear(in_channels, out_channels, bias=False)
        self.ring = IntraSphereConv(in_channels, out_channels, self_loop=False)

    def forward(self, level: Any, features: Tensor) -> Tensor:
        return self.root(features) + self.ring(level, features)
