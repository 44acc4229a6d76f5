"""The task as `csgnn_dgl.training` sees it."""

from csgnn_dgl.tasks.dos.board import show
from csgnn_dgl.tasks.dos.data import DOSData
from csgnn_dgl.tasks.dos.module import DOSModule
from csgnn_dgl.tasks.dos.report import invariance_report, report
from csgnn_dgl.training.task import Task

TASK = Task(
    module=DOSModule,
    data=DOSData,
    network="csgnn",
    monitor="validation/band_energy_mae",
    mode="min",
    panels={
        "loss": "loss",
        "band_energy_mae": "error of the band energy (eV/atom)",
        "fermi_level_mae": "error of the Fermi level (eV)",
    },
    epoch_line={
        "train/loss": "loss {:.5f}",
        "validation/loss": "validation loss {:.5f}",
        "validation/band_energy_mae": "band energy {:.4f} eV/atom",
        "validation/fermi_level_mae": "Fermi level {:.4f} eV",
        "learning_rate": "rate {:.1e}",
        "train/skipped_batches": "{:.0f} batches skipped",
        "train/samples_per_second": "{:.0f} snapshots/s",
    },
    report=report,
    show=show,
    extras={"invariance": invariance_report},
)
