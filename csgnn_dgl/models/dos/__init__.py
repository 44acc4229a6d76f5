"""Models of the density of states: CSGNN-DOS and its baselines."""

from csgnn_dgl.models.dos.agni import AGNI
from csgnn_dgl.models.dos.base import DOS_MODELS, DOSModel
from csgnn_dgl.models.dos.csgnn import CSGNNDOS
from csgnn_dgl.models.dos.mean import StructureMean
from csgnn_dgl.models.dos.schnet import SchNet

__all__ = ["AGNI", "CSGNNDOS", "DOS_MODELS", "DOSModel", "SchNet", "StructureMean"]
