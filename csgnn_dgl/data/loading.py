"""The order of samples and the keys of everything random: what all data sets share."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from csgnn_dgl.errors import InputError

LARGEST_SEED = 2**32 - 1


EVALUATION_STREAM = 1


ORDER_STREAM = 2
"""Fourth words of the keys of test rotations and of the order of an epoch. NumPy pads the three words of
an augmentation's key with a zero, so these streams have nothing in common with it."""


def check_seed(seed: int) -> None:
    """Raise InputError unless `seed` is one 32-bit word, as the keys of the random streams want it."""
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed is {seed}; give a whole number from 0 to {LARGEST_SEED}.")


class EpochIndex(int):
    """A sample index that knows its epoch, so that a worker process needs no other news of the epoch.

    It is a plain whole number to everybody else.
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
    """Return a batch of :class:`CloudDataset` as it is: it is whole already."""
    return batch


class EpochSampler(Sampler[int]):
    """The order of the samples as a function of (seed, epoch), for one process or several.

    Parameters
    ----------
    size
        Number of samples.
    seed
        Seed of the order, in [0, 2**32).
    shuffle
        ``True`` for training: a random permutation, another each epoch; with several processes the last few
        samples are repeated so that each process has equally many. ``False`` for evaluation: 0, 1, 2, ...,
        every sample exactly once over all processes.
    rank, world
        Number of this process and of all processes. Process `rank` takes the samples rank, rank + world, ...
        of the order.
    groups
        (size,) the group of each sample, numbered from 0: a shuffled order then mixes the groups evenly, so that every
        stretch of it has nearly the share of each group that all samples have. None mixes without regard to groups.

    Notes
    -----
    ``set_epoch`` has to be called before the iteration of each epoch starts; Lightning does so for every
    epoch, but with worker processes only after the first batches of a resumed run were ordered, so a data
    module that resumes sets the epoch when it makes its loader.
    """

    def __init__(
        self,
        size: int,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world: int = 1,
        groups: ArrayLike | None = None,
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
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the samples of this process."""
        if self.shuffle:
            return -(-self.size // self.world)
        return len(range(self.rank, self.size, self.world))

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this process, each with its epoch."""
        epoch = self.epoch
        order = np.arange(self.size)
        if self.shuffle:
            source = np.random.default_rng([self.seed, epoch, 0, ORDER_STREAM])
            order = source.permutation(self.size)
            if self.groups is not None:
                order = mix_evenly(order, self.groups[order], source)
            order = np.resize(order, len(self) * self.world)
        for index in order[self.rank :: self.world].tolist():
            yield EpochIndex(index, epoch)


def mix_evenly(order: NDArray[np.int64], group: NDArray[np.int64], source: np.random.Generator) -> NDArray[np.int64]:
    """Rearrange an order so that its groups are mixed evenly, each group's samples keeping theirs.

    The k-th of the n samples of a group goes to a random place within the k-th of n equal parts of the order.

    Parameters
    ----------
    order
        (S,) the samples.
    group
        (S,) the group of each, numbered from 0.
    source
        What the places are drawn from.

    Returns
    -------
    numpy.ndarray
        (S,) the samples rearranged.
    """
    counts = np.bincount(group)
    by_group = np.argsort(group, kind="stable")
    rank = np.empty(len(order))
    rank[by_group] = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    place = (rank + source.random(len(order))) / counts[group]
    return order[np.argsort(place, kind="stable")]


class CurrentEpochSampler(Sampler[int]):
    """An `EpochSampler` that asks for the epoch at the moment an iteration begins, and stops at the last whole batch.

    Lightning tells samplers the epoch only after a resumed loader has begun to fetch; asking is always in time.
    The samples that fill no batch of all processes are left out, so that an epoch is the same for any number of
    processes: process r of n has the samples r, r + n, r + 2n, ... of each batch that one process would have.

    Parameters
    ----------
    sampler
        The sampler whose order is used.
    epoch
        Called without arguments at the start of each iteration; returns the epoch.
    batch_size
        Samples per batch and process.
    """

    def __init__(self, sampler: EpochSampler, epoch: Callable[[], int], batch_size: int) -> None:
        self.order = sampler
        self.epoch = epoch
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Count the samples of this process."""
        return self.order.size // (self.batch_size * self.order.world) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Iterate over the order of the current epoch."""
        self.order.set_epoch(self.epoch())
        return islice(self.order, len(self))
