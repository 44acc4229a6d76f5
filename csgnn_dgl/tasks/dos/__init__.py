"""The electronic density of states (DOS) of atomic structures."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.tasks.dos.data import DOSData
    from csgnn_dgl.tasks.dos.evaluation import Score, score
    from csgnn_dgl.tasks.dos.invariance import Invariance, measure_invariance
    from csgnn_dgl.tasks.dos.module import DOSModule
    from csgnn_dgl.tasks.dos.task import TASK
    from csgnn_dgl.tasks.dos.trained import TrainedDOS, load_dos_model

__all__ = [
    "TASK",
    "DOSData",
    "DOSModule",
    "Invariance",
    "Score",
    "TrainedDOS",
    "load_dos_model",
    "measure_invariance",
    "score",
]

_MODULE_OF = {
    "DOSData": "data",
    "Score": "evaluation",
    "score": "evaluation",
    "Invariance": "invariance",
    "measure_invariance": "invariance",
    "DOSModule": "module",
    "TASK": "task",
    "TrainedDOS": "trained",
    "load_dos_model": "trained",
}

__getattr__, __dir__ = lazy_names(globals(), _MODULE_OF)
