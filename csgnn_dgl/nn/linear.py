"""A linear layer that is fast for few channels of many rows, as the coordinates of points are."""

import torch
from torch import Tensor, nn

FEW = 16
"""Channels from which BLAS needs no help."""


class Linear(nn.Linear):
    """A linear layer, y = W x + b, with the parameters and the numbers of `torch.nn.Linear`.

    The gradient of a weight with few input channels is a product of two long, thin matrices, which BLAS does ten times
    faster for a weight that lies transposed in memory.

    Shapes
    ------
    - features: (..., in_features); output: (..., out_features).
    """

    def forward(self, features: Tensor) -> Tensor:
        """Multiply and add; see the class."""
        if self.in_features >= FEW:
            return super().forward(features)
        rows, weight = features.reshape(-1, features.shape[-1]), self.weight.t().contiguous()
        result = rows @ weight if self.bias is None else torch.addmm(self.bias, rows, weight)
        return result.view(*features.shape[:-1], self.out_features)
