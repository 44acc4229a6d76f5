"""Points to features on the concentric grid (Sec. 3.1, Sec. 4.2, Fig. 2, A.6): batched torch on any device."""

from csgnn_dgl.mapping.base import PointMapping
from csgnn_dgl.mapping.environments import Environments, find_environments
from csgnn_dgl.mapping.gaussian import GaussianMapping
from csgnn_dgl.mapping.interpolated import InterpolatedMapping
from csgnn_dgl.mapping.location import TriangleLocator
from csgnn_dgl.mapping.nearest import NearestVertexMapping
from csgnn_dgl.mapping.neighbours import NeighbourMapping
from csgnn_dgl.mapping.prism import PrismMapping
from csgnn_dgl.mapping.reading import GridReading
from csgnn_dgl.mapping.shell import ShellMapping

MAPPINGS: dict[str, type[PrismMapping] | type[ShellMapping]] = {"prism": PrismMapping, "shell": ShellMapping}
NEIGHBOUR_MAPPINGS: dict[str, type[NearestVertexMapping] | type[InterpolatedMapping] | type[GaussianMapping]] = {
    "nearest": NearestVertexMapping,
    "interpolated": InterpolatedMapping,
    "gaussian": GaussianMapping,
}

__all__ = [
    "MAPPINGS",
    "NEIGHBOUR_MAPPINGS",
    "Environments",
    "GaussianMapping",
    "GridReading",
    "InterpolatedMapping",
    "NearestVertexMapping",
    "NeighbourMapping",
    "PointMapping",
    "PrismMapping",
    "ShellMapping",
    "TriangleLocator",
    "find_environments",
]
