"""Linear layers with batch norm, for points and for the heads of classifiers."""

from itertools import pairwise

from torch import nn

from csgnn_dgl.nn.dropout import SharedDropout
from csgnn_dgl.nn.linear import Linear
from csgnn_dgl.nn.norm import Norm


def mlp(*widths: int, bias: bool = True, slope: float = 0.0, eps: float = 1e-5, dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers, each with batch norm, an activation and, where wanted, dropout.

    Parameters
    ----------
    *widths
        Channels of the input, and of each layer.
    bias
        Whether the linear layers have a bias.
    slope
        Slope of the activation below zero; see :class:`~csgnn_dgl.nn.Norm`.
    eps
        ε of the norms.
    dropout
        Probability of dropping each output of each layer, in training.

    Returns
    -------
    nn.Sequential
        From features (..., widths[0]) to features (..., widths[-1]).
    """
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [Linear(inner, outer, bias), Norm(outer, eps=eps, slope=slope)]
        layers += [SharedDropout(dropout)] if dropout else []
    return nn.Sequential(*layers)
