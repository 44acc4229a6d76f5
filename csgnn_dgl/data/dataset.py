"""Serving clouds to a ``torch.utils.data.DataLoader``, the same bits for any number of workers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from csgnn_dgl.data.augmentation import ORDER_STREAM, Augmentation, check_seed
from csgnn_dgl.data.clouds import PointClouds
from csgnn_dgl.errors import InputError


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


class CloudDataset(Dataset[dict[str, Tensor]]):
    """Clouds as batches, augmented if asked.

    A batch is a dictionary: ``points`` (batch, points, 3) float32, ``labels`` (batch,) int64 and ``index``
    (batch,) int64, the place of each sample in `clouds`. Whole batches are made at once, so pass
    ``collate_fn=collate``.

    Parameters
    ----------
    clouds
        The clouds to serve.
    augmentation
        Applied to each sample from its own stream (seed, epoch, index). The epoch comes with the indices of
        :class:`EpochSampler`; with plain indices it is 0. ``None`` serves the clouds as they are.
    seed
        Seed of the augmentation, in [0, 2**32).

    Examples
    --------
    >>> dataset = CloudDataset(clouds, Augmentation(rotation="SO3"), seed=0)    # doctest: +SKIP
    >>> sampler = EpochSampler(len(dataset), seed=0)                            # doctest: +SKIP
    >>> DataLoader(dataset, batch_size=32, sampler=sampler, collate_fn=collate) # doctest: +SKIP
    """

    def __init__(self, clouds: PointClouds, augmentation: Augmentation | None = None, seed: int = 0) -> None:
        check_seed(seed)
        self.clouds = clouds
        self.augmentation = augmentation
        self.seed = seed
        # tensors, as torch hands them to worker processes without a copy
        self._points = torch.from_numpy(clouds.points)
        self._labels = torch.from_numpy(clouds.labels)

    def __len__(self) -> int:
        """Count the clouds."""
        return len(self.clouds)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sample: ``points`` (points, 3), ``labels`` () and ``index`` ()."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} clouds")
        if index < 0:
            index = EpochIndex(index + len(self), getattr(index, "epoch", 0))
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch of samples."""
        index = torch.tensor([int(i) for i in indices], dtype=torch.int64)
        points = self._points[index]
        if self.augmentation is not None:
            epochs = [getattr(i, "epoch", 0) for i in indices]
            draws = self.augmentation.draw(self.seed, epochs, index, self.clouds.num_points)
            points = self.augmentation.apply(points, draws)
        return {"points": points, "labels": self._labels[index], "index": index}


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
