"""The models of the paper, and those that they are compared with."""

from csgnn_dgl.models.agni import AGNI
from csgnn_dgl.models.csgnn import CSGNN
from csgnn_dgl.models.csgnn_dos import CSGNNDOS
from csgnn_dgl.models.dos import DOSModel
from csgnn_dgl.models.mean import StructureMean
from csgnn_dgl.models.schnet import SchNet

DOS_MODELS: dict[str, type[CSGNNDOS] | type[AGNI] | type[SchNet]] = {"csgnn": CSGNNDOS, "agni": AGNI, "schnet": SchNet}
"""The models of the density of states by their names on the command line and in checkpoints."""

__all__ = ["AGNI", "CSGNN", "CSGNNDOS", "DOS_MODELS", "DOSModel", "SchNet", "StructureMean"]
