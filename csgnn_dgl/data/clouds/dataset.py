"""Serving clouds to a ``torch.utils.data.DataLoader``, the same bits for any number of workers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from csgnn_dgl.data.clouds.augmentation import Augmentation, TestRotation
from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.data.clouds.transform import CloudTransform
from csgnn_dgl.data.loading import EpochDataset


class CloudDataset(EpochDataset):
    """Clouds as batches, as a :class:`CloudTransform` hands them to a classifier.

    A batch is a dictionary: ``points`` (batch, points, 3) float32, ``labels`` (batch,) int64 and ``index``
    (batch,) int64, the place of each sample in `clouds`.

    Parameters
    ----------
    clouds
        The clouds to serve.
    changes
        How clouds are augmented or rotated, if at all, each from its own stream (seed, epoch, index).
    seed
        Seed of the changes, in [0, 2**32).

    Examples
    --------
    >>> dataset = CloudDataset(clouds, Augmentation(rotation="SO3"), seed=0)    # doctest: +SKIP
    >>> sampler = EpochSampler(len(dataset), seed=0)                            # doctest: +SKIP
    >>> DataLoader(dataset, batch_size=32, sampler=sampler, collate_fn=collate) # doctest: +SKIP
    """

    def __init__(self, clouds: PointClouds, changes: Augmentation | TestRotation | None = None, seed: int = 0) -> None:
        super().__init__(len(clouds))
        self.clouds = clouds
        self.transform = CloudTransform(changes, seed)
        # tensors, as torch hands them to worker processes without a copy
        self._points = torch.from_numpy(clouds.points)
        self._labels = torch.from_numpy(clouds.labels)

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the clouds and their labels."""
        points = self.transform(self._points[index], index, epochs, self.clouds.normalised)
        return {"points": points, "labels": self._labels[index]}
