"""The electronic density of states (DOS) of atomic structures."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.tasks.dos.data import DOSData
    from csgnn_dgl.tasks.dos.module import DOSModule
    from csgnn_dgl.tasks.dos.task import TASK
    from csgnn_dgl.tasks.dos.trained import TrainedDOS, load_dos_model

__all__ = ["TASK", "DOSData", "DOSModule", "TrainedDOS", "load_dos_model"]

__getattr__, __dir__ = lazy_names(
    globals(),
    {"data": "DOSData", "module": "DOSModule", "task": "TASK", "trained": "TrainedDOS load_dos_model"},
)
