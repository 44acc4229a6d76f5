"""Structures with energies and forces as a Lightning data module."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from csgnn_dgl.data import check_elements
from csgnn_dgl.data.atoms.energies import EnergySnapshots, load_energies
from csgnn_dgl.data.splits import SPLITS, Split
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.environments import CUTOFF
from csgnn_dgl.models import EnergyModel
from csgnn_dgl.tasks.atoms import SnapshotRotation, StructureDataset
from csgnn_dgl.training.data import EpochData


class EnergyDataset(StructureDataset):
    """Snapshots with energies as batches of atomic environments.

    Batches are those of `StructureDataset` with ``numbers`` (N,) int64, ``energy`` (S,) float64 in eV and, where any
    snapshot has forces, ``forces`` (S, M, 3) float32 in eV/Å: M is the largest number of atoms of all snapshots, and
    what a snapshot lacks is NaN. Parameters are those of `StructureDataset`.
    """

    def __init__(self, known: EnergySnapshots, cutoff: float, *arguments: Any, **options: Any) -> None:
        super().__init__(known.snapshots, cutoff, *arguments, **options)
        self.energies = torch.from_numpy(known.energies)
        self.numbers = [torch.from_numpy(item.numbers) for item in known.snapshots]
        self.forces = [None if own is None else torch.from_numpy(own).float() for own in known.forces]
        self.has_forces = any(own is not None for own in self.forces)

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return environments, elements, energies and forces of these snapshots."""
        numbers = torch.cat([self.numbers[place] for place in index.tolist()])
        batch = {**super().batch(index, epochs), "numbers": numbers, "energy": self.energies[index]}
        if not self.has_forces:
            return batch
        forces = torch.full((len(index), max(map(len, self.numbers)), 3), torch.nan)
        for row, (place, epoch) in enumerate(zip(index.tolist(), epochs, strict=True)):
            if (own := self.forces[place]) is not None:
                forces[row, : len(own)] = self.turned(own, place, epoch)
        return {**batch, "forces": forces}


class EnergyData(EpochData):
    """Structures with energies for training, validation and testing.

    Batches are those of `EnergyDataset`. What a snapshot looks like depends on (seed, epoch, index) in training.
    Validation snapshots are as they are; test snapshots are tried so, and turned by random rotations.

    Parameters
    ----------
    source
        "builtin" for the carbon allotropes that come with the package, with energies and forces of Tersoff's
        potential; else a folder with ``train.extxyz``, ``val.extxyz`` and ``test.extxyz``, or files of other kinds
        that ase reads.
    batch_size
        Snapshots per step and process.
    train_rotation
        Random rotation of the training snapshots: "none" or "SO3" (uniform).
    fraction
        Share of the snapshots that is trained and validated on, evenly spaced.
    num_workers
        Worker processes that prepare batches; 0 prepares them in the main process.
    seed
        Seed of order and rotations.
    progress
        Show a progress bar on stderr where preparing the data takes long.
    """

    def __init__(
        self,
        source: str = "builtin",
        batch_size: int = 8,
        train_rotation: SnapshotRotation = "SO3",
        fraction: float = 1.0,
        num_workers: int = 0,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(source, batch_size, num_workers, seed)
        if not 0 < fraction <= 1:
            raise InputError(f"data.fraction is {fraction}; give a number above 0, up to 1")
        self.train_rotation, self.fraction, self.progress = train_rotation, fraction, progress
        self.cutoff = CUTOFF
        self._snapshots: dict[Split, EnergySnapshots] = {}
        self._datasets: dict[tuple[Split, SnapshotRotation], EnergyDataset] = {}

    def snapshots(self, split: Split) -> EnergySnapshots:
        """Return the snapshots of a split that take part, read at first use."""
        if split not in self._snapshots:
            share = 1.0 if split == "test" else self.fraction
            self._snapshots[split] = load_energies(self.source, split, share)
        return self._snapshots[split]

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers of the elements in the training snapshots."""
        return self.snapshots("train").elements

    @property
    def has_forces(self) -> bool:
        """Whether a force is known in any split that was read."""
        return any(own is not None for known in self._snapshots.values() for own in known.forces)

    def reading(self) -> dict[str, Any]:
        """Return the options that say what is read and tested on, as plain values."""
        return {"source": self.source}

    def description(self) -> dict[str, Any]:
        """Say what is trained on, as plain values for checkpoints and results."""
        names = ("source", "train_rotation", "batch_size", "fraction", "seed")
        return {name: getattr(self, name) for name in names}

    def read_test(self) -> None:
        """Read the test split."""
        self.snapshots("test")

    def setup(self, stage: str) -> None:
        """Read what the stage needs; the test split is not touched by training.

        Raises
        ------
        InputError
            If the data cannot be read, there are not enough snapshots for the processes, or the network is for other
            elements.
        """
        needed: tuple[Split, ...] = {"fit": ("train", "val"), "test": ("test",)}.get(stage, ("val",))  # type: ignore[assignment]
        network: Any = self.trainer.lightning_module.network if self.trainer is not None else None
        if isinstance(network, EnergyModel):
            self.cutoff = network.cutoff
        for split in needed:
            count = len(self.snapshots(split))
            if split == "train":
                self._check_batches(count, "snapshots")
            self._check_shares(count, f"{SPLITS[split]} snapshot")
            if network is not None:
                check_elements(self.snapshots(split).snapshots, network.elements)

    def dataset(self, split: Split, rotation: SnapshotRotation = "none") -> EnergyDataset:
        """Return the environments of a split, found at first use."""
        if (split, rotation) not in self._datasets:
            options = {"rotation": rotation, "seed": self.seed, "progress": self.progress}
            self._datasets[split, rotation] = EnergyDataset(self.snapshots(split), self.cutoff, **options)
        return self._datasets[split, rotation]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return training batches in a new order each epoch; the last incomplete batch is dropped."""
        return self._loader(self.dataset("train", self.train_rotation), train=True)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the validation batches, each snapshot once."""
        return self._loader(self.dataset("val"), train=False)

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return the test batches, each snapshot once as it is and once turned."""
        return [self._loader(self.dataset("test", rotation), train=False) for rotation in ("none", "SO3")]
