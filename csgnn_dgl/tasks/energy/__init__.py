"""The energy of molecules and cells, and the forces on their atoms."""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.tasks.energy.calculator import EnergyCalculator
    from csgnn_dgl.tasks.energy.data import EnergyData
    from csgnn_dgl.tasks.energy.module import EnergyModule
    from csgnn_dgl.tasks.energy.task import TASK

__all__ = ["TASK", "EnergyCalculator", "EnergyData", "EnergyModule"]

__getattr__, __dir__ = lazy_names(
    globals(), {"calculator": "EnergyCalculator", "data": "EnergyData", "module": "EnergyModule", "task": "TASK"}
)
