"""The order of samples, the keys of everything random and whole batches: what all data sets share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from csgnn_dgl.errors import InputError

LARGEST_SEED = 2**32 - 1

EVALUATION_STREAM, ORDER_STREAM = 1, 2
"""Fourth words of the keys of test rotations and of the order of an epoch. NumPy pads the three words of
an augmentation's key with a zero, so these streams have nothing in common with it."""


def check_seed(seed: int) -> None:
    """Raise InputError unless `seed` is one 32-bit word, as the keys of the random streams want it."""
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed is {seed}; give a whole number from 0 to {LARGEST_SEED}.")


def streams(seed: int, epoch: ArrayLike, indices: ArrayLike, *words: int) -> list[np.random.Generator]:
    """Return a random generator for each sample, ``numpy.random.default_rng([seed, epoch, index, *words])``.

    What a sample draws depends neither on its batch nor on the process that draws it.

    Parameters
    ----------
    seed
        Seed of the run, in [0, 2**32).
    epoch
        One epoch for all samples, or one for each.
    indices
        (B,) index of each sample in its data set, or one index.
    words
        What tells this stream from others.
    """
    check_seed(seed)
    chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
    epochs = np.broadcast_to(np.asarray(epoch, dtype=np.int64), chosen.shape)
    keys = zip(epochs.tolist(), chosen.tolist(), strict=True)
    return [np.random.default_rng([seed, *key, *words]) for key in keys]


class EpochIndex(int):
    """A sample index that knows its epoch, so that a worker process needs no other news of the epoch.

    It is a plain whole number to everybody else.

    Parameters
    ----------
    index
        Number of the sample.
    epoch
        Number of the epoch.
    """

    epoch: int

    def __new__(cls, index: int, epoch: int) -> "EpochIndex":
        """Make the index `index` of epoch `epoch`."""
        self = super().__new__(cls, index)
        self.epoch = epoch
        return self

    def __reduce__(self) -> tuple[type["EpochIndex"], tuple[int, int]]:
        """Keep the epoch on the way to a worker process."""
        return EpochIndex, (int(self), self.epoch)


def collate(batch: Any) -> Any:
    """Return a batch of an :class:`EpochDataset` as it is: it is whole already.

    Parameters
    ----------
    batch
        What the data set made of the indices of a batch.

    Returns
    -------
    Any
        The same object.
    """
    return batch


class EpochDataset(Dataset[dict[str, Tensor]], ABC):
    """Samples whose batches are functions of (seed, epoch, index), the same bits for any number of workers.

    Whole batches are made at once, so pass ``collate_fn=collate`` to a ``torch.utils.data.DataLoader``. The epoch comes
    with the indices of an :class:`EpochSampler`; with plain indices it is 0.

    Parameters
    ----------
    size
        Number of samples.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        """Count the samples."""
        return self.size

    @abstractmethod
    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return what a batch has beside ``index``.

        Parameters
        ----------
        index
            (B,) int64 places of the samples.
        epochs
            (B,) epoch of each.
        """

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of these samples, with their places (B,) int64 as ``index``."""
        index = torch.tensor([int(i) for i in indices], dtype=torch.int64)
        return {**self.batch(index, [getattr(i, "epoch", 0) for i in indices]), "index": index}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return a batch of one sample."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        return self.__getitems__([index])


class EpochSampler(Sampler[int]):
    """The order of the samples as a function of (seed, epoch), dealt out to one process or several.

    Parameters
    ----------
    size
        Number of samples.
    seed
        Seed of the order, in [0, 2**32).
    shuffle
        ``True``: a random permutation, another each epoch. ``False``: 0, 1, 2, ...
    rank, world
        Number of this process and of all processes. Process `rank` takes the samples rank, rank + world, ...
        of the order.
    groups
        (size,) the group of each sample, numbered from 0: a shuffled order then mixes the groups evenly, so that every
        stretch of it has nearly the share of each group that all samples have. None mixes without regard to groups.
    batch_size
        For training: samples per batch and process. The samples at the end of the order that fill no batch of all
        processes are left out, so that all processes have equally many, and together have the batches that one process
        would have. ``None``: every sample exactly once over all processes, of which some may have one more.
    epoch
        The epoch, or a function that is asked for it whenever an iteration begins. Lightning calls ``set_epoch``, but
        with worker processes only after the first batches of a resumed run were ordered; a function is in time.
    start
        Is asked how many samples of this process a resumed epoch has had already. They are passed over, not counted out
        of the length.
    """

    def __init__(
        self,
        size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
        groups: ArrayLike | None = None,
        batch_size: int | None = None,
        epoch: int | Callable[[], int] = 0,
        start: Callable[[int], int] = lambda epoch: 0,
    ) -> None:
        check_seed(seed)
        if size < 1:
            raise InputError(f"the sampler was given {size} samples; give at least one.")
        self.groups = None if groups is None else np.asarray(groups, dtype=np.int64)
        if self.groups is not None and self.groups.shape != (size,):
            raise ValueError(f"{size} samples need as many groups, got {self.groups.shape}")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not in 0..{world - 1}")
        self.size, self.seed, self.shuffle, self.rank, self.world = size, seed, shuffle, rank, world
        self.epoch, self.start = epoch, start
        self.used = size if batch_size is None else size // (batch_size * world) * batch_size * world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, unless there is a function to ask for it."""
        if not callable(self.epoch):
            self.epoch = epoch

    def __len__(self) -> int:
        """Count the samples of this process."""
        return len(range(self.rank, self.used, self.world))

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this process, each with its epoch."""
        epoch = self.epoch() if callable(self.epoch) else self.epoch
        order = np.arange(self.size)
        if self.shuffle:
            source = np.random.default_rng([self.seed, epoch, 0, ORDER_STREAM])
            order = source.permutation(self.size)
            if self.groups is not None:
                order = mix_evenly(order, self.groups[order], source)
        for index in order[self.rank : self.used : self.world][self.start(epoch) :].tolist():
            yield EpochIndex(index, epoch)


def mix_evenly(order: NDArray[np.int64], group: NDArray[np.int64], source: np.random.Generator) -> NDArray[np.int64]:
    """Rearrange an order (S,) so that its groups (S,), numbered from 0, are mixed evenly, each in its own order.

    The k-th of the n samples of a group goes to a random place, from `source`, within the k-th of n equal parts.
    """
    counts = np.bincount(group)
    by_group = np.argsort(group, kind="stable")
    rank = np.empty(len(order))
    rank[by_group] = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    place = (rank + source.random(len(order))) / counts[group]
    return order[np.argsort(place, kind="stable")]
