"""The environments of all atoms of a set of snapshots, in few large tensors."""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import torch

from csgnn_dgl.mapping.environments import Environments


class EnvironmentTable(Sequence[Environments]):
    """The environments of S snapshots: few tensors, which worker processes share, in little more than half the memory.

    Parameters
    ----------
    parts
        The environments of each snapshot.
    """

    def __init__(self, parts: Iterable[Environments]) -> None:
        found = list(parts)
        self.num_atoms = [len(part) for part in found]
        self._ends = np.cumsum([len(part.vectors) for part in found]).tolist()
        self._vectors = torch.cat([part.vectors for part in found])
        self._centre = torch.cat([part.centre for part in found]).int()
        self._neighbour = torch.cat([part.neighbour for part in found]).int()

    def __len__(self) -> int:
        """Count the snapshots."""
        return len(self.num_atoms)

    @overload
    def __getitem__(self, index: int) -> Environments: ...
    @overload
    def __getitem__(self, index: slice) -> list[Environments]: ...
    def __getitem__(self, index: int | slice) -> Environments | list[Environments]:
        """Return the environments of one snapshot, or of those of a slice."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        pairs = slice(self._ends[place - 1] if place else 0, self._ends[place])
        centre, neighbour = self._centre[pairs].long(), self._neighbour[pairs].long()
        return Environments(self._vectors[pairs], centre, neighbour, self.num_atoms[place])
