"""What the two convolutions share: parameters, checks of the features, and the choice of what computes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from csgnn_dgl.graphs.levels import ConcentricLevel
from csgnn_dgl.nn.forms import Form, check_dtypes, check_features, check_form, refers, takes_kernels

if TYPE_CHECKING:
    import dgl


class Convolution(nn.Module, ABC):
    """A linear layer over the edges of a level, with a weight (..., C, F), a bias (F,) or None, and a form."""

    def __init__(self, *shape: int, bias: bool, form: Form) -> None:
        super().__init__()
        self.in_channels, self.out_channels = shape[-2:]
        self.form = check_form(form)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(self.out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, uniform within ±1/√C, or ±1/√(K·C) for K taps, as ``torch.nn.Linear`` does."""
        bound = 1 / math.sqrt(math.prod(self.weight.shape[:-1]))
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, graph: ConcentricLevel | dgl.DGLGraph, features: Tensor) -> Tensor:
        """Convolve; see the class for the formula and shapes.

        Raises
        ------
        ValueError
            If the features' shape or dtype does not fit the graph or the layer, or the graph was built for a smaller
            radial kernel.
        TypeError
            If `graph` is no concentric level.
        """
        level = ConcentricLevel.of(graph)
        num_nodes = level.num_spheres * level.num_vertices
        grid = check_features(features, num_nodes, level.num_spheres, self.in_channels)
        check_dtypes(grid, self.weight)
        kernels = self.takes_kernels(level, grid)
        if refers(self._form_on(level), grid):
            result = self._reference(level, grid)
        else:
            result = self._convolve(level, grid, kernels)
        return result.reshape(*features.shape[:-1], self.out_channels)

    def takes_kernels(self, level: ConcentricLevel, features: Tensor) -> bool:
        """Say whether the layer uses the kernels for features (R, V, B, C), or raise ValueError as `forward` does."""
        return takes_kernels(self.form, features, self.weight)

    def _form_on(self, level: ConcentricLevel) -> Form:
        return self.form

    @abstractmethod
    def _convolve(self, level: ConcentricLevel, features: Tensor, kernels: bool) -> Tensor: ...

    @abstractmethod
    def _reference(self, level: ConcentricLevel, features: Tensor) -> Tensor: ...
