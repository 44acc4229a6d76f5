"""The data of the electronic-structure experiment as a Lightning data module."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from csgnn_dgl.data import Snapshots, check_elements, load_snapshots
from csgnn_dgl.data.atoms.sources import has_split
from csgnn_dgl.data.splits import SPLITS, Split
from csgnn_dgl.electronic import PAPER_GRID, EnergyGrid
from csgnn_dgl.errors import InputError
from csgnn_dgl.mapping.environments import CUTOFF
from csgnn_dgl.models import DOSModel
from csgnn_dgl.tasks.atoms import SnapshotRotation, StructureDataset, batch_environments
from csgnn_dgl.training.data import EpochData


class SnapshotDataset(StructureDataset):
    """Snapshots with their DOS as batches of atomic environments.

    Batches are those of `StructureDataset` with ``dos_per_atom`` (S, count) float32 in states per eV and atom, and
    ``electrons_per_atom`` (S,) float64. Parameters are those of `StructureDataset`; all snapshots have a DOS.

    Attributes
    ----------
    dos_per_atom
        (S, count) float32 states per eV and atom of all snapshots.

    Raises
    ------
    InputError
        If a snapshot has no DOS.
    """

    def __init__(self, snapshots: Snapshots, cutoff: float = CUTOFF, *arguments: Any, **options: Any) -> None:
        super().__init__(snapshots, cutoff, *arguments, **options)
        self.dos_per_atom = torch.from_numpy(snapshots.dos_per_atom).float()
        self._electrons_per_atom = torch.from_numpy(snapshots.num_electrons / snapshots.num_atoms)

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the environments, DOS and electrons of these snapshots."""
        known = {"dos_per_atom": self.dos_per_atom[index], "electrons_per_atom": self._electrons_per_atom[index]}
        return {**super().batch(index, epochs), **known}


class DOSData(EpochData):
    """Atomic snapshots with their DOS for training, validation and testing.

    Batches are those of `SnapshotDataset`. What a snapshot looks like depends on (seed, epoch, index) in training,
    never on the number of workers or processes; validation and test snapshots are as they are. Neighbours are found up
    to the cutoff of the network that is trained.

    Parameters
    ----------
    source
        "builtin" for the carbon allotropes that come with the package; else a folder, see
        `csgnn_dgl.data.load_snapshots`.
    batch_size
        Snapshots per step and process.
    train_rotation
        Random rotation of the training snapshots: "none" or "SO3" (uniform).
    holdout
        Name of a structure that is left out of training and validation; its test snapshots are then the test set.
    fraction
        Share of the snapshots of each structure that is trained and validated on, evenly spaced over them.
    grid
        The energy bins of the DOS.
    offset
        Added to the energies of the authors' DOS files, in eV.
    valences
        Electrons per atom by chemical symbol, where the files do not tell the number of electrons.
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
        batch_size: int = 32,
        train_rotation: SnapshotRotation = "none",
        holdout: str | None = None,
        fraction: float = 1.0,
        grid: EnergyGrid = PAPER_GRID,
        offset: float = 0.0,
        valences: dict[str, float] | None = None,
        num_workers: int = 0,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(source, batch_size, num_workers, seed)
        if not 0 < fraction <= 1:
            raise InputError(f"data.fraction is {fraction}; give a number above 0, up to 1")
        self.train_rotation, self.holdout, self.fraction = train_rotation, holdout, fraction
        self.grid, self.offset, self.valences = grid, offset, valences
        self.progress, self.cutoff = progress, CUTOFF
        self._whole: dict[Split, Snapshots] = {}
        self._snapshots: dict[Split, Snapshots] = {}
        self._datasets: dict[Split, SnapshotDataset] = {}

    def all_snapshots(self, split: Split) -> Snapshots:
        """Return the snapshots of a split, whatever `fraction` is; read at first use.

        Raises
        ------
        InputError
            If they cannot be read, or none are left without `holdout`.
        """
        if split not in self._whole:
            read = load_snapshots(self.source, split, self.grid, self.offset, self.valences, self.progress)
            self._whole[split] = read if self.holdout is None else self._without_holdout(read, split)
        return self._whole[split]

    def known_snapshots(self) -> Snapshots | None:
        """Return all training snapshots, or None where the source has data to test on only."""
        return self.all_snapshots("train") if has_split(self.source, "train") else None

    def _without_holdout(self, snapshots: Snapshots, split: Split) -> Snapshots:
        """Leave the structure `holdout` out, or all others for testing."""
        chosen = (np.array(snapshots.structures) == self.holdout) == (split == "test")
        if split == "test" and not chosen.any():
            known = ", ".join(sorted(set(snapshots.structures)))
            raise InputError(f"{self.source}: data.holdout is {self.holdout!r}; name one of the structures {known}")
        if not chosen.any():
            raise InputError(f"{self.source}: without {self.holdout!r} no snapshots are left in {split!r}")
        return snapshots.subset(np.flatnonzero(chosen))

    def snapshots(self, split: Split) -> Snapshots:
        """Return the snapshots of a split that take part: in training and validation `fraction` of them."""
        if split not in self._snapshots:
            whole = self.all_snapshots(split)
            if split == "test" or self.fraction == 1:
                return whole
            names, kept = np.array(whole.structures), []
            for name in sorted(set(whole.structures)):
                places = np.flatnonzero(names == name)
                count = math.ceil(self.fraction * len(places))
                kept += places[np.arange(count) * len(places) // count].tolist()
            self._snapshots[split] = whole.subset(sorted(kept))
        return self._snapshots[split]

    def reading(self) -> dict[str, Any]:
        """Return the options that say what is read and tested on, as plain values."""
        return {
            "holdout": self.holdout,
            "source": self.source,
            "grid": dataclasses.asdict(self.grid),
            "offset": self.offset,
            "valences": self.valences,
        }

    def description(self) -> dict[str, Any]:
        """Say what is trained on, as plain values for checkpoints and results."""
        names = ("source", "train_rotation", "batch_size", "holdout", "fraction", "seed")
        return {name: getattr(self, name) for name in names}

    def setup(self, stage: str) -> None:
        """Read what the stage needs and find the neighbours; the test split is not touched by training.

        Raises
        ------
        InputError
            If the data cannot be read, there are not enough snapshots for the processes, or the network that is trained
            predicts another number of energy bins or is for other elements.
        """
        if self.holdout is not None:
            self.all_snapshots("test")  # a name that is not there is better told before the training
        needed: tuple[Split, ...] = {"fit": ("train", "val"), "test": ("test",)}.get(stage, ("val",))  # type: ignore[assignment]
        if "train" in needed:
            self._check_batches(len(self.snapshots("train")), "snapshots")
        for split in needed:
            self._check_shares(len(self.snapshots(split)), f"{SPLITS[split]} snapshot")
        if self.trainer is not None:
            self._fit_to(self.trainer.lightning_module.network, needed)  # type: ignore[arg-type]
        for split in needed:
            self.dataset(split)
        if stage == "fit":
            smallest = int(self.snapshots("train").num_atoms.argmin())
            self._check_lone(lambda network: self._answer_of(network, smallest), "atom")

    def _answer_of(self, network: DOSModel, place: int) -> Tensor:
        """Put one of the training snapshots through a network."""
        batch = self.dataset("train").batch(torch.tensor([place]), [0])
        return network(batch_environments(batch), batch["snapshot"], 1)

    def read_test(self) -> None:
        """Read the test split."""
        self.snapshots("test")

    def _fit_to(self, network: DOSModel, needed: Sequence[Split]) -> None:
        """Take the cutoff of a network, after making sure that it is for these data."""
        if network.num_bins != self.grid.count:
            raise InputError(
                f"the model predicts {network.num_bins} energy bins and data.grid has {self.grid.count}; set "
                "model.network.init_args.num_bins and data.grid.count to the same number"
            )
        for split in needed:
            check_elements(self.snapshots(split), network.elements)
        if network.cutoff != self.cutoff:
            self.cutoff = network.cutoff
            self._datasets.clear()

    def dataset(self, split: Split) -> SnapshotDataset:
        """Return the environments of a split, found at first use."""
        if split not in self._datasets:
            rotation = self.train_rotation if split == "train" else "none"
            chosen = self.snapshots(split)
            self._datasets[split] = SnapshotDataset(chosen, self.cutoff, rotation, self.seed, self.progress)
        return self._datasets[split]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return training batches in a new order each epoch; the last incomplete batch is dropped.

        Each batch has nearly the share of each structure that all snapshots have: batch norm takes the mean DOS of a
        batch for the one it was told, so it had better be the same in all of them.
        """
        dataset = self.dataset("train")
        _, groups = np.unique(dataset.snapshots.structures, return_inverse=True)
        return self._loader(dataset, train=True, groups=groups)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the validation batches, each snapshot once."""
        return self._loader(self.dataset("val"), train=False)

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the test batches, each snapshot once."""
        return self._loader(self.dataset("test"), train=False)
