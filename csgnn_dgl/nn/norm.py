"""Batch normalisation and ReLU of features on the grid."""

from torch import Tensor, nn


class NormReLU(nn.BatchNorm1d):
    """Batch norm per channel over spheres, vertices and samples, then ReLU: what follows every convolution.

    Every vertex of every sphere is one observation of each channel, so turning the grid changes nothing: the layer
    is equivariant.

    Shapes
    ------
    - features: (R, V, B, C); output: the same.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise and rectify; see the class."""
        rows = super().forward(features.reshape(-1, features.shape[-1]))
        return rows.relu_().view(features.shape)
