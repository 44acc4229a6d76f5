"""The models of the paper, and those that they are compared with."""

from csgnn_dgl.models.classifiers import CSGNN
from csgnn_dgl.models.dos import AGNI, CSGNNDOS, DOS_MODELS, DOSModel, SchNet, StructureMean

__all__ = ["AGNI", "CSGNN", "CSGNNDOS", "DOS_MODELS", "DOSModel", "SchNet", "StructureMean"]
