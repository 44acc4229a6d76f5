"""Layers on concentric icospheres: each computes the same in several forms, with the same parameters (`Form`)."""

from csgnn_dgl.nn.block import ConcentricBlock
from csgnn_dgl.nn.dropout import SharedDropout
from csgnn_dgl.nn.edge import SphereEdgeConv
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.intra import IntraSphereConv
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.norm import Norm, NormReLU, without_observing
from csgnn_dgl.nn.norm_max import NormMax
from csgnn_dgl.nn.point_edge import PointEdgeConv
from csgnn_dgl.nn.pool import SpherePool
from csgnn_dgl.nn.pooled import PooledLinear
from csgnn_dgl.nn.radial import RadialConv
from csgnn_dgl.nn.shells import ShellMax

__all__ = [
    "ConcentricBlock",
    "Form",
    "IntraSphereConv",
    "Norm",
    "NormMax",
    "NormReLU",
    "PointEdgeConv",
    "PooledLinear",
    "RadialConv",
    "SharedDropout",
    "ShellMax",
    "SphereEdgeConv",
    "SpherePool",
    "mlp",
    "without_observing",
]
