"""The task as `csgnn_dgl.training` sees it."""

from csgnn_dgl.tasks.energy.data import EnergyData
from csgnn_dgl.tasks.energy.module import EnergyModule
from csgnn_dgl.tasks.energy.report import report
from csgnn_dgl.training.task import Task

TASK = Task(
    module=EnergyModule,
    data=EnergyData,
    network="csgnn",
    monitor="validation/loss",
    mode="min",
    panels={"loss": "loss", "energy_mae": "error of the energy (eV/atom)", "forces_mae": "error of the forces (eV/Å)"},
    epoch_line={
        "train/loss": "loss {:.5f}",
        "validation/loss": "validation loss {:.5f}",
        "validation/energy_mae": "energy {:.4f} eV/atom",
        "validation/forces_mae": "forces {:.3f} eV/Å",
        "learning_rate": "rate {:.1e}",
        "train/samples_per_second": "{:.0f} structures/s",
    },
    report=report,
    links=("elements",),
)
