"""Classification of point clouds."""

from csgnn_dgl.tasks.classification.data import ModelNetData
from csgnn_dgl.tasks.classification.evaluation import (
    Score,
    measure_so3_error,
    score,
    score_views,
    vote,
    wilson_interval,
)
from csgnn_dgl.tasks.classification.module import ClassificationModule
from csgnn_dgl.tasks.classification.report import write_results

__all__ = [
    "ClassificationModule",
    "ModelNetData",
    "Score",
    "measure_so3_error",
    "score",
    "score_views",
    "vote",
    "wilson_interval",
    "write_results",
]
