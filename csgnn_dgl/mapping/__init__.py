"""Point clouds to features on the concentric grid (Sec. 3.1, Fig. 2, A.6): batched torch on any device."""

from csgnn_dgl.mapping.base import PointMapping
from csgnn_dgl.mapping.location import TriangleLocator
from csgnn_dgl.mapping.prism import PrismMapping
from csgnn_dgl.mapping.shell import ShellMapping

MAPPINGS: dict[str, type[PrismMapping] | type[ShellMapping]] = {"prism": PrismMapping, "shell": ShellMapping}

__all__ = ["MAPPINGS", "PointMapping", "PrismMapping", "ShellMapping", "TriangleLocator"]
