"""Points to features on the concentric grid (Sec. 3.1, Sec. 4.2, Fig. 2, A.6): batched torch on any device."""

from csgnn_dgl.mapping.base import PointMapping
from csgnn_dgl.mapping.environments import Environments, find_environments
from csgnn_dgl.mapping.location import TriangleLocator
from csgnn_dgl.mapping.nearest import NearestVertexMapping
from csgnn_dgl.mapping.prism import PrismMapping
from csgnn_dgl.mapping.shell import ShellMapping

MAPPINGS: dict[str, type[PrismMapping] | type[ShellMapping]] = {"prism": PrismMapping, "shell": ShellMapping}

__all__ = [
    "MAPPINGS",
    "Environments",
    "NearestVertexMapping",
    "PointMapping",
    "PrismMapping",
    "ShellMapping",
    "TriangleLocator",
    "find_environments",
]
