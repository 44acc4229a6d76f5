"""Serving clouds to a ``torch.utils.data.DataLoader``, the same bits for any number of workers."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from csgnn_dgl.data.clouds.augmentation import Augmentation, TestRotation
from csgnn_dgl.data.clouds.records import FEATURES, PointClouds
from csgnn_dgl.data.clouds.transform import CloudTransform
from csgnn_dgl.data.loading import EpochDataset


class CloudDataset(EpochDataset):
    """Clouds as batches, as a :class:`CloudTransform` hands them to a classifier.

    A batch is a dictionary: ``points`` (batch, points, 3 + K) float32, ``labels`` (batch,) int64 and ``index``
    (batch,) int64, the place of each sample in `clouds`. The K numbers after the positions are the features of the
    clouds, in the order of `FEATURES`, as no rotation changes them: of a normal n at the point p it is ``|n·p|`` / ‖p‖,
    which no other choice of its sign changes either; colours and intensities are themselves.

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
        self._features = {name: torch.from_numpy(values) for name, values in clouds.features.items()}

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the clouds and their labels."""
        shown = {name: self._features[name][index] for name in FEATURES if name in self._features}
        normals = shown.get("normals")
        points, normals = self.transform.with_normals(
            self._points[index], normals, index, epochs, self.clouds.normalised
        )
        if normals is not None:
            shown["normals"] = (normals * normalize(points, dim=-1)).sum(dim=-1, keepdim=True).abs()
        return {"points": torch.cat([points, *shown.values()], dim=-1), "labels": self._labels[index]}


def numbers_of(features: Sequence[str]) -> int:
    """Count the numbers K that a batch has of these features beside the positions."""
    return sum(1 if name == "normals" else FEATURES[name] for name in features)
