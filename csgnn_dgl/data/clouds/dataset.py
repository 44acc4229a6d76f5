"""Serving clouds to a ``torch.utils.data.DataLoader``, the same bits for any number of workers."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from csgnn_dgl.data.clouds.augmentation import Augmentation
from csgnn_dgl.data.clouds.records import PointClouds
from csgnn_dgl.data.loading import EpochIndex, check_seed


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
