"""The task as `csgnn_dgl.training` sees it."""

from csgnn_dgl.tasks.classification.board import show
from csgnn_dgl.tasks.classification.data import ModelNetData
from csgnn_dgl.tasks.classification.module import ClassificationModule
from csgnn_dgl.tasks.classification.report import consistency_report, report, so3_error_report
from csgnn_dgl.training.task import Task

TASK = Task(
    module=ClassificationModule,
    data=ModelNetData,
    network="csgnn",
    monitor="validation/accuracy",
    mode="max",
    panels={"loss": "loss", "accuracy": "accuracy"},
    epoch_line={
        "train/loss": "loss {:.3f}",
        "validation/loss": "validation loss {:.3f}",
        "validation/accuracy": "validation accuracy {:.3f}",
        "learning_rate": "rate {:.1e}",
        "train/skipped_batches": "{:.0f} batches skipped",
        "train/samples_per_second": "{:.0f} shapes/s",
    },
    report=report,
    show=show,
    links=("num_points", "num_classes", "num_features"),
    extras={"so3_error": so3_error_report, "consistency": consistency_report},
)
