"""Classification of point clouds."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
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
    from csgnn_dgl.tasks.classification.task import TASK

__all__ = [
    "TASK",
    "ClassificationModule",
    "ModelNetData",
    "Score",
    "measure_so3_error",
    "score",
    "score_views",
    "vote",
    "wilson_interval",
]

_MODULE_OF = {
    "ModelNetData": "data",
    "Score": "evaluation",
    "measure_so3_error": "evaluation",
    "score": "evaluation",
    "score_views": "evaluation",
    "vote": "evaluation",
    "wilson_interval": "evaluation",
    "ClassificationModule": "module",
    "TASK": "task",
}

__getattr__, __dir__ = lazy_names(globals(), _MODULE_OF)
