"""Classification of point clouds."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.tasks.classification.data import ModelNetData
    from csgnn_dgl.tasks.classification.module import ClassificationModule
    from csgnn_dgl.tasks.classification.task import TASK

__all__ = ["TASK", "ClassificationModule", "ModelNetData"]

__getattr__, __dir__ = lazy_names(globals(), {"data": "ModelNetData", "module": "ClassificationModule", "task": "TASK"})
