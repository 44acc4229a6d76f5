"""The models of the paper, and those that they are compared with."""

from csgnn_dgl.models.base import Model, Registry
from csgnn_dgl.models.classifiers import (
    CLASSIFIERS,
    CSGNN,
    DGCNN,
    PRIN,
    RIGCN,
    SFCNN,
    Classifier,
    KPConv,
    MixedCSGNN,
    PointNet,
    RIConv,
    ShellNet,
    SPHNet,
)
from csgnn_dgl.models.dos import AGNI, CSGNNDOS, DOS_MODELS, DOSModel, SchNet, StructureMean
from csgnn_dgl.models.encoder import ConcentricEncoder
from csgnn_dgl.models.energy import ENERGY_MODELS, CSGNNEnergy, EnergyModel
from csgnn_dgl.models.segmenters import SEGMENTERS, CSGNNParts, Segmenter

__all__ = [
    "AGNI",
    "CLASSIFIERS",
    "CSGNN",
    "CSGNNDOS",
    "DGCNN",
    "DOS_MODELS",
    "ENERGY_MODELS",
    "PRIN",
    "RIGCN",
    "SEGMENTERS",
    "SFCNN",
    "CSGNNEnergy",
    "CSGNNParts",
    "Classifier",
    "ConcentricEncoder",
    "DOSModel",
    "EnergyModel",
    "KPConv",
    "MixedCSGNN",
    "Model",
    "PointNet",
    "RIConv",
    "Registry",
    "SPHNet",
    "SchNet",
    "Segmenter",
    "ShellNet",
    "StructureMean",
]
