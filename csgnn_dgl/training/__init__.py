"""What all tasks share in training: the Lightning module, the data module, and the run folder."""

from csgnn_dgl.training.module import TrainingModule
from csgnn_dgl.training.runs import RunFolder

__all__ = ["RunFolder", "TrainingModule"]
