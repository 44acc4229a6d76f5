"""Concentric Spherical GNN for 3D representation learning, on DGL and PyTorch.

Importing this package makes dgl load (see `csgnn_dgl._dgl`): a plain ``import dgl`` works afterwards. The
public names below are imported at first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from csgnn_dgl._dgl import load_dgl

if TYPE_CHECKING:
    from csgnn_dgl.errors import InputError
    from csgnn_dgl.geometry import (
        Icosphere,
        icosahedral_rotations,
        icosphere,
        random_rotations,
        vertex_permutations,
    )
    from csgnn_dgl.graphs import (
        ConcentricGrid,
        concentric_heterograph,
        draw_features,
        draw_heterograph,
        pooling_graph,
    )
    from csgnn_dgl.mapping import PrismMapping, ShellMapping
    from csgnn_dgl.models import CSGNN
    from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, RadialConv, SpherePool
    from csgnn_dgl.testing import assert_equivariant, so3_error

__version__ = "0.1.0"

__all__ = [
    "CSGNN",
    "ConcentricBlock",
    "ConcentricGrid",
    "Icosphere",
    "InputError",
    "IntraSphereConv",
    "PrismMapping",
    "RadialConv",
    "ShellMapping",
    "SpherePool",
    "__version__",
    "assert_equivariant",
    "concentric_heterograph",
    "draw_features",
    "draw_heterograph",
    "icosahedral_rotations",
    "icosphere",
    "pooling_graph",
    "random_rotations",
    "so3_error",
    "vertex_permutations",
]

_MODULE_OF = {
    "Icosphere": "geometry",
    "icosahedral_rotations": "geometry",
    "icosphere": "geometry",
    "random_rotations": "geometry",
    "vertex_permutations": "geometry",
    "ConcentricGrid": "graphs",
    "concentric_heterograph": "graphs",
    "draw_features": "graphs",
    "draw_heterograph": "graphs",
    "pooling_graph": "graphs",
    "ConcentricBlock": "nn",
    "IntraSphereConv": "nn",
    "RadialConv": "nn",
    "SpherePool": "nn",
    "PrismMapping": "mapping",
    "ShellMapping": "mapping",
    "CSGNN": "models",
    "assert_equivariant": "testing",
    "so3_error": "testing",
    "InputError": "errors",
}

load_dgl()


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
