"""What the data of tasks on atomic structures share: batches of environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from csgnn_dgl.data import Snapshots, rotate_clouds
from csgnn_dgl.data.clouds.augmentation import check_rotation_mode
from csgnn_dgl.data.loading import EpochDataset, check_seed, streams
from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.mapping.environments import CUTOFF, Environments

SnapshotRotation = Literal["none", "SO3"]


class StructureDataset(EpochDataset):
    """Snapshots as batches of atomic environments; a task adds what is known of them.

    A batch of S snapshots with N atoms and E neighbours in all is a dictionary of tensors, so that Lightning can move,
    pin and widen it: ``vectors`` (E, 3) float32, ``centre`` (E,) and ``neighbour`` (E,) int64 as in `Environments`,
    ``snapshot`` (N,) int64 (the snapshot of each atom, from 0 to S - 1), and ``index`` (S,) int64, the place of each
    snapshot in `snapshots`. Nothing is padded.

    Parameters
    ----------
    snapshots
        The snapshots to serve.
    cutoff
        Cutoff radius in Å.
    rotation
        "SO3": each snapshot is turned by a random rotation from its own stream (seed, epoch, index). The epoch comes
        with the indices of `EpochSampler`; with plain indices it is 0.
    seed
        Seed of the rotations, in [0, 2**32).
    progress
        Show a progress bar on stderr while the neighbours are searched.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        cutoff: float = CUTOFF,
        rotation: SnapshotRotation = "none",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        check_seed(seed)
        super().__init__(len(snapshots))
        self.snapshots = snapshots
        self.rotation = check_rotation_mode(rotation)
        self.seed = seed
        self._environments = snapshots.environments(cutoff, progress=progress)

    def turned(self, vectors: Tensor, index: int, epoch: int) -> Tensor:
        """Turn vectors (K, 3) of a snapshot as the snapshot is turned in an epoch."""
        if self.rotation == "none":
            return vectors
        turn = torch.from_numpy(random_rotations(1, streams(self.seed, epoch, index), self.rotation))
        return rotate_clouds(vectors[None], turn)[0]

    def environments(self, index: int, epoch: int = 0) -> Environments:
        """Return the environments of one snapshot as they are in an epoch."""
        found = self._environments[index]
        return dataclasses.replace(found, vectors=self.turned(found.vectors, index, epoch))

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the environments of these snapshots."""
        parts = [self.environments(*key) for key in zip(index.tolist(), epochs, strict=True)]
        joined = Environments.join(parts)
        atoms = torch.tensor([len(part) for part in parts])
        return {
            "vectors": joined.vectors,
            "centre": joined.centre,
            "neighbour": joined.neighbour,
            "snapshot": torch.arange(len(index)).repeat_interleave(atoms),
        }


def batch_environments(batch: dict[str, Tensor]) -> Environments:
    """Return the environments in a batch of `StructureDataset`."""
    return Environments(batch["vectors"], batch["centre"], batch["neighbour"], len(batch["snapshot"]))
