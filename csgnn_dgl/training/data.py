"""What the data modules of all tasks share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.utils.data import DataLoader

from csgnn_dgl.data import EpochSampler, collate
from csgnn_dgl.data.loading import EpochDataset
from csgnn_dgl.errors import InputError

LONELY = ("more than one observation", "more than 1 value per channel")
"""What the batch norms of this package and of torch say of a batch that has one observation of a channel."""


class EpochData(L.LightningDataModule):
    """A data module whose batches depend on (seed, epoch), never on the number of workers or on an interruption.

    Parameters
    ----------
    source
        Where the data come from, for messages.
    batch_size
        Samples per step and process.
    num_workers
        Worker processes that prepare batches; 0 prepares them in the main process.
    seed
        Seed of the order.
    """

    def __init__(self, source: str, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size is {batch_size}; give a whole number of at least 1")
        if num_workers < 0:
            raise InputError(f"data.num_workers is {num_workers}; give 0 or more")
        self.source, self.batch_size, self.num_workers, self.seed = source, batch_size, num_workers, seed
        self._resumed_epoch = self._resumed_batch = 0

    def reading(self) -> dict[str, Any]:
        """Return the options that say what is read and tested on, as plain values."""
        return {"source": self.source}

    def description(self) -> dict[str, Any]:
        """Say what is trained on, as plain values for checkpoints and results."""
        return {"source": self.source, "seed": self.seed}

    def read_test(self) -> None:
        """Read what is tested on, so that what cannot be read is told before a training and not at its end."""

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch that a resumed run begins with, how many of its batches were trained on, and their size.

        Lightning makes the first loader before it restores its own count of the epochs, and worker processes fetch at
        once.
        """
        share = {"batch_size": self.batch_size, "processes": self._world()[1]}
        return {"epoch": self._epoch(), "batch": self.batches_done(), **share}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin there.

        Raises
        ------
        InputError
            If that is within an epoch whose batches were shared otherwise among processes.
        """
        self._resumed_epoch, self._resumed_batch = int(state_dict["epoch"]), int(state_dict.get("batch", 0))
        if not self._resumed_batch:
            return
        was, now = (state_dict["processes"], state_dict["batch_size"]), (self._world()[1], self.batch_size)
        if was != now:
            raise InputError(
                f"the last checkpoint is within an epoch of {was[0]} process(es) with batches of {was[1]}, and here "
                f"are {now[0]} with batches of {now[1]}; go on as before, at least to the end of the epoch"
            )

    def batches_done(self) -> int:
        """Return how many batches of an unfinished epoch were trained on; 0 between two epochs."""
        if self.trainer is None:
            return 0
        loop: Any = self.trainer.fit_loop
        epochs = loop.epoch_progress.current
        return loop.epoch_loop.batch_progress.current.processed if epochs.ready > epochs.processed else 0

    def resumes_within_epoch(self) -> bool:
        """Whether the training has gone on within an epoch."""
        return self._resumed_batch > 0

    def _epoch(self) -> int:
        if self.trainer is None:
            return 0
        return max(self._resumed_epoch, self.trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]

    def _world(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _check_batches(self, count: int, what: str) -> None:
        world = self._world()[1]
        if count < self.batch_size * world:
            raise InputError(
                f"{self.source}: {count} training {what} do not fill one batch of {self.batch_size} in each of "
                f"{world} process(es); lower data.batch_size"
            )

    def _check_lone(self, answer: Callable[[Any], object], what: str) -> None:
        """Refuse batches of one, if the batch norm of the network that is trained cannot learn from them.

        Parameters
        ----------
        answer
            Puts the smallest batch of one through a network.
        what
            What the batch has one of.
        """
        if self.trainer is None or self.batch_size * self._world()[1] > 1:
            return
        network: nn.Module = self.trainer.lightning_module.network  # type: ignore[assignment]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            try:
                answer(copy.deepcopy(network).train())
            except Exception as error:  # whatever else goes wrong, the training will tell
                if any(words in str(error) for words in LONELY):
                    raise InputError(
                        f"data.batch_size is 1, and the batch norm of {type(network).__name__} has nothing to average "
                        f"over in a batch of one {what}; give at least 2"
                    ) from None

    def _check_shares(self, count: int, what: str) -> None:
        world = self._world()[1]
        if count < world:
            raise InputError(
                f"{self.source}: {count} {what}(s) leave some of {world} processes without any; start fewer processes"
            )

    def _passed_over(self, epoch: int) -> int:
        """Return the samples of this process that an epoch has had before the run was resumed."""
        return self._resumed_batch * self.batch_size if epoch == self._resumed_epoch else 0

    def _loader(
        self, dataset: EpochDataset, train: bool, groups: ArrayLike | None = None, epoch: int = 0
    ) -> DataLoader[dict[str, torch.Tensor]]:
        """Return a loader for training, or for evaluation with the random numbers of one `epoch`."""
        rank, world = self._world()
        size, asked = (self.batch_size, self._epoch) if train else (None, lambda: epoch)
        start = self._passed_over if train else lambda epoch: 0
        sampler = EpochSampler(len(dataset), self.seed, train, rank, world, groups, size, asked, start)
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=train and self.num_workers > 0,
        )
