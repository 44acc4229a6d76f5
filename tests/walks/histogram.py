"""A toy tenth classifier, as it would stand in ``csgnn_dgl/models/classifiers``: one file."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from csgnn_dgl.models import CLASSIFIERS, Classifier


@CLASSIFIERS.register("toy-histogram")
class Histogram(Classifier):
    """A linear layer on the share of points in each of some shells: the radii are all that it sees."""

    symmetry = "SO3"
    tiny = MappingProxyType({"num_shells": 4})

    def __init__(self, num_shells: int = 16, num_classes: int = 40) -> None:
        super().__init__(num_classes)
        self.num_shells = num_shells
        self.head = nn.Linear(num_shells, num_classes)

    def forward_points(self, points: Tensor) -> Tensor:
        radii = torch.linalg.vector_norm(points, dim=-1)
        radii = radii / radii.amax(dim=1, keepdim=True)
        shells = (radii * self.num_shells).long().clamp(max=self.num_shells - 1)
        shares = nn.functional.one_hot(shells, self.num_shells).to(self.head.weight.dtype).mean(dim=1)
        return self.head(shares)
