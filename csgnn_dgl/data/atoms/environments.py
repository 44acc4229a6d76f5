"""The environments of all atoms of a set of snapshots, in few large tensors."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from csgnn_dgl.mapping.environments import Environments


class EnvironmentTable:
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

    def __getitem__(self, place: int) -> Environments:
        """Return the environments of one snapshot."""
        if not 0 <= place < len(self):
            raise IndexError(f"snapshot {place} is out of range for {len(self)}")
        pairs = slice(self._ends[place - 1] if place else 0, self._ends[place])
        centre, neighbour = self._centre[pairs].long(), self._neighbour[pairs].long()
        return Environments(self._vectors[pairs], centre, neighbour, self.num_atoms[place])

    def __iter__(self) -> Iterator[Environments]:
        """Go through the snapshots."""
        return (self[place] for place in range(len(self)))
