"""Models of the density of states: CSGNN-DOS and its baselines."""

from csgnn_dgl.models.dos.agni import AGNI
from csgnn_dgl.models.dos.base import DOSModel
from csgnn_dgl.models.dos.csgnn import CSGNNDOS
from csgnn_dgl.models.dos.mean import StructureMean
from csgnn_dgl.models.dos.schnet import SchNet

DOS_MODELS: dict[str, type[CSGNNDOS] | type[AGNI] | type[SchNet]] = {"csgnn": CSGNNDOS, "agni": AGNI, "schnet": SchNet}
"""The models of the density of states by their names on the command line and in checkpoints."""

__all__ = ["AGNI", "CSGNNDOS", "DOS_MODELS", "DOSModel", "SchNet", "StructureMean"]
