"""What all tasks share in training: the Lightning modules, the run folder, and training and testing as functions."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.training.data import EpochData
    from csgnn_dgl.training.experiment import compare, evaluate, fit
    from csgnn_dgl.training.module import TrainingModule
    from csgnn_dgl.training.results import Results
    from csgnn_dgl.training.runs import Run, RunFolder
    from csgnn_dgl.training.task import Task

__all__ = ["EpochData", "Results", "Run", "RunFolder", "Task", "TrainingModule", "compare", "evaluate", "fit"]

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "data": "EpochData",
        "experiment": "compare evaluate fit",
        "module": "TrainingModule",
        "results": "Results",
        "runs": "Run RunFolder",
        "task": "Task",
    },
)
