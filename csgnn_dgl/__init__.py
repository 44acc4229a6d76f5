"""Concentric Spherical GNN for 3D representation learning, on DGL and PyTorch.

Importing this package makes dgl load (see `csgnn_dgl._dgl`): a plain ``import dgl`` works afterwards. The
public names below are imported at first use.
"""

from typing import TYPE_CHECKING

from csgnn_dgl._dgl import load_dgl
from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.errors import InputError
    from csgnn_dgl.geometry import (
        Icosphere,
        icosahedral_rotations,
        icosphere,
        random_rotations,
        vertex_permutations,
    )
    from csgnn_dgl.graphs import ConcentricGrid, concentric_heterograph, pooling_graph
    from csgnn_dgl.mapping import PrismMapping, ShellMapping
    from csgnn_dgl.models import CSGNN
    from csgnn_dgl.models.weights import pretrained
    from csgnn_dgl.nn import ConcentricBlock, IntraSphereConv, RadialConv, SpherePool
    from csgnn_dgl.symmetry import so3_error
    from csgnn_dgl.tasks.classification.prediction import ShapePrediction, classify
    from csgnn_dgl.tasks.dos import load_dos_model
    from csgnn_dgl.tasks.dos.calculator import DOSCalculator
    from csgnn_dgl.tasks.dos.prediction import DOSPrediction, predict_dos
    from csgnn_dgl.tasks.energy.calculator import EnergyCalculator
    from csgnn_dgl.testing import assert_equivariant
    from csgnn_dgl.viz import draw_features, draw_heterograph

__version__ = "0.1.0"

__all__ = [
    "CSGNN",
    "ConcentricBlock",
    "ConcentricGrid",
    "DOSCalculator",
    "DOSPrediction",
    "EnergyCalculator",
    "Icosphere",
    "InputError",
    "IntraSphereConv",
    "PrismMapping",
    "RadialConv",
    "ShapePrediction",
    "ShellMapping",
    "SpherePool",
    "__version__",
    "assert_equivariant",
    "classify",
    "concentric_heterograph",
    "draw_features",
    "draw_heterograph",
    "icosahedral_rotations",
    "icosphere",
    "load_dos_model",
    "pooling_graph",
    "predict_dos",
    "pretrained",
    "random_rotations",
    "so3_error",
    "vertex_permutations",
]

_NAMES_IN = {
    "errors": "InputError",
    "geometry": "Icosphere icosahedral_rotations icosphere random_rotations vertex_permutations",
    "graphs": "ConcentricGrid concentric_heterograph pooling_graph",
    "mapping": "PrismMapping ShellMapping",
    "models": "CSGNN",
    "models.weights": "pretrained",
    "nn": "ConcentricBlock IntraSphereConv RadialConv SpherePool",
    "symmetry": "so3_error",
    "tasks.classification.prediction": "ShapePrediction classify",
    "tasks.dos": "load_dos_model",
    "tasks.dos.calculator": "DOSCalculator",
    "tasks.dos.prediction": "DOSPrediction predict_dos",
    "tasks.energy.calculator": "EnergyCalculator",
    "testing": "assert_equivariant",
    "viz": "draw_features draw_heterograph",
}

load_dgl()

__getattr__, __dir__ = lazy_names(globals(), _NAMES_IN)
