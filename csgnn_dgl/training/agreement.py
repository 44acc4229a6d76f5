"""What the processes of a training agree upon between two steps."""

from __future__ import annotations

import torch
import torch.distributed as dist


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class Agreement:
    """Takes the largest of a few small numbers over all processes, on their CPUs.

    No accelerator is waited for, and no signal handler may call it: all processes have to, at the same step.
    """

    def __init__(self) -> None:
        self._group: dist.ProcessGroup | None = None

    def largest(self, *numbers: int) -> list[int]:
        """Return the largest value that any process gave for each number; with one process, the numbers."""
        if world_size() == 1:
            return list(numbers)
        if self._group is None:
            self._group = dist.new_group(backend="gloo")
        given = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(given, op=dist.ReduceOp.MAX, group=self._group)
        return given.tolist()

    def gathered(self, thing: object) -> list[object]:
        """Return what every process gave, by rank."""
        if world_size() == 1:
            return [thing]
        self.largest()
        found: list[object] = [None] * dist.get_world_size()
        dist.all_gather_object(found, thing, group=self._group)
        return found
