"""What a task tells the functions that train, test and compare."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from csgnn_dgl.errors import InputError
from csgnn_dgl.models.trust import check_import
from csgnn_dgl.training.data import EpochData
from csgnn_dgl.training.module import TrainingModule
from csgnn_dgl.training.report import Section

Show = Callable[[Any, Any, Tensor, Tensor, int, bool], None]
"""Draws a validation: TensorBoard's writer, the module, the answers (items, ...), the items, the step, whether all."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """A task: the object ``TASK`` of a package.

    Parameters
    ----------
    module, data
        The Lightning module and data module. Their arguments are the options ``model`` and ``data`` of a config.
    network
        Name of the network in the module's registry, where a config names none.
    monitor, mode
        Logged quantity that picks the best checkpoint, and whether more or less of it is better.
    panels
        What the curve of a training shows: titles by the names of measures.
    epoch_line
        What is told of an epoch: formats by the names of logged quantities.
    report
        Makes the report of tested modules, which have the names of their models.
    links
        Attributes of the data that a network gets as arguments of the same name, where it takes them.
    extras
        What can be measured of a tested module beyond its report, by the name of the option that asks for it.
    show
        Draws a validation for TensorBoard; see `Show`.
    """

    module: type[TrainingModule]
    data: type[EpochData]
    network: str
    monitor: str
    mode: Literal["max", "min"]
    panels: Mapping[str, str]
    epoch_line: Mapping[str, str]
    report: Callable[[Mapping[str, Any]], Section]
    links: Sequence[str] = ()
    extras: Mapping[str, Callable[[Any], Section]] = dataclasses.field(default_factory=dict)
    show: Show | None = None

    @property
    def name(self) -> str:
        """The name that configs and checkpoints know the task by."""
        return self.module.registry.task


def find_task(name: str) -> Task:
    """Return the task of a name: a folder in ``csgnn_dgl/tasks``, or the import path of a package with ``TASK``.

    Raises
    ------
    InputError
        If there is none.
    """
    path = f"{name}.TASK" if "." in name else f"csgnn_dgl.tasks.{name}.TASK"
    if "." in name:
        check_import(path, Task)
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"there is no task {name!r} ({error}); give the import path of a package with TASK") from error
    if not isinstance(found, Task):
        raise InputError(f"{path} is no task; give the import path of a package with TASK")
    return found
