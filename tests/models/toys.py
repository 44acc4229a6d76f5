"""Models from outside the package: plain modules that know nothing of csgnn_dgl but how they are called."""

from typing import Any

import torch
from torch import Tensor, nn


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
        return self.levels(counts[:, None].to(self.levels.weight)).exp()

    def forward(self, environments: Any, snapshot: Tensor, num_snapshots: int) -> Tensor:
        members = nn.functional.one_hot(snapshot, num_snapshots).T.to(self.levels.weight)
        return members @ self.atom_dos(environments) / members.sum(dim=1, keepdim=True)
