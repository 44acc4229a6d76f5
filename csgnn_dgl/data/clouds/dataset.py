"""Serving clouds to a ``torch.utils.data.DataLoader``, the same bits for any number of workers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from csgnn_dgl.data.clouds.augmentation import Augmentation
from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.data.loading import EpochDataset, check_seed


class CloudDataset(EpochDataset):
    """Clouds as batches, augmented if asked.

    A batch is a dictionary: ``points`` (batch, points, 3) float32, ``labels`` (batch,) int64 and ``index``
    (batch,) int64, the place of each sample in `clouds`.

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
        super().__init__(len(clouds))
        self.clouds = clouds
        self.augmentation = augmentation
        self.seed = seed
        # tensors, as torch hands them to worker processes without a copy
        self._points = torch.from_numpy(clouds.points)
        self._labels = torch.from_numpy(clouds.labels)

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the clouds and their labels."""
        points = self._points[index]
        if self.augmentation is not None:
            draws = self.augmentation.draw(self.seed, epochs, index, self.clouds.num_points)
            points = self.augmentation.apply(points, draws)
        return {"points": points, "labels": self._labels[index]}
