"""The structure of the concentric grid: DGL graphs to look at and to pass messages on, tables for the fast forms."""

from csgnn_dgl.graphs.grid import ConcentricGrid
from csgnn_dgl.graphs.heterograph import concentric_heterograph
from csgnn_dgl.graphs.levels import ConcentricLevel, PoolingLevel
from csgnn_dgl.graphs.mixed import MixedLevel, MixedPooling, levels_by_radius, mixed_heterograph
from csgnn_dgl.graphs.networkx import from_networkx, to_networkx
from csgnn_dgl.graphs.pooling import pooling_graph
from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.graphs.summary import html_of

__all__ = [
    "ConcentricGrid",
    "ConcentricLevel",
    "MixedLevel",
    "MixedPooling",
    "PoolingLevel",
    "Relation",
    "concentric_heterograph",
    "from_networkx",
    "html_of",
    "levels_by_radius",
    "mixed_heterograph",
    "pooling_graph",
    "to_networkx",
]
