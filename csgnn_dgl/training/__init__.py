"""What both experiments share in training: modules, data modules, evaluation, and the run folder."""

from csgnn_dgl.training.checkpoints import check_fits, read_checkpoint
from csgnn_dgl.training.data import ModelNetData
from csgnn_dgl.training.evaluation import Score, measure_so3_error, score, score_views, vote, wilson_interval
from csgnn_dgl.training.module import ClassificationModule, TrainingModule
from csgnn_dgl.training.reports import write_results
from csgnn_dgl.training.runs import RunFolder

__all__ = [
    "ClassificationModule",
    "ModelNetData",
    "RunFolder",
    "Score",
    "TrainingModule",
    "check_fits",
    "measure_so3_error",
    "read_checkpoint",
    "score",
    "score_views",
    "vote",
    "wilson_interval",
    "write_results",
]
