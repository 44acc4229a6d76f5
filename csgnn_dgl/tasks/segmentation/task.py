"""The task as `csgnn_dgl.training` sees it."""

from csgnn_dgl.tasks.segmentation.data import PartData
from csgnn_dgl.tasks.segmentation.module import PartModule
from csgnn_dgl.tasks.segmentation.report import consistency_report, report
from csgnn_dgl.training.task import Task

TASK = Task(
    module=PartModule,
    data=PartData,
    network="csgnn",
    monitor="validation/iou",
    mode="max",
    panels={"loss": "loss", "iou": "mean IoU"},
    epoch_line={
        "train/loss": "loss {:.3f}",
        "validation/loss": "validation loss {:.3f}",
        "validation/iou": "validation IoU {:.3f}",
        "learning_rate": "rate {:.1e}",
        "train/samples_per_second": "{:.0f} shapes/s",
    },
    report=report,
    links=("num_parts",),
    extras={"consistency": consistency_report},
)
