"""Parts of shapes: a label for every point of a cloud."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.tasks.segmentation.data import PartData
    from csgnn_dgl.tasks.segmentation.module import PartModule
    from csgnn_dgl.tasks.segmentation.task import TASK

__all__ = ["TASK", "PartData", "PartModule"]

__getattr__, __dir__ = lazy_names(globals(), {"data": "PartData", "module": "PartModule", "task": "TASK"})
