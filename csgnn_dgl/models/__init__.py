"""The models of the paper, and those that they are compared with."""

from csgnn_dgl.models.base import Model, Registry
from csgnn_dgl.models.classifiers import CLASSIFIERS, CSGNN, Classifier
from csgnn_dgl.models.dos import AGNI, CSGNNDOS, DOS_MODELS, DOSModel, SchNet, StructureMean

__all__ = [
    "AGNI",
    "CLASSIFIERS",
    "CSGNN",
    "CSGNNDOS",
    "DOS_MODELS",
    "Classifier",
    "DOSModel",
    "Model",
    "Registry",
    "SchNet",
    "StructureMean",
]
