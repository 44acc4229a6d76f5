"""The electronic density of states (DOS) of atomic structures."""

from csgnn_dgl.tasks.dos.data import DOSData
from csgnn_dgl.tasks.dos.evaluation import DOSScore, score_dos
from csgnn_dgl.tasks.dos.invariance import DOSInvariance, measure_dos_invariance
from csgnn_dgl.tasks.dos.module import DOSModule
from csgnn_dgl.tasks.dos.report import write_dos_results
from csgnn_dgl.tasks.dos.trained import TrainedDOS, load_dos_model

__all__ = [
    "DOSData",
    "DOSInvariance",
    "DOSModule",
    "DOSScore",
    "TrainedDOS",
    "load_dos_model",
    "measure_dos_invariance",
    "score_dos",
    "write_dos_results",
]
