"""The data of part segmentation: the built-in shapes, whose parts are known from how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from csgnn_dgl.data import Augmentation, CloudDataset, PartClouds, TestRotation, builtin_parts
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import RotationMode
from csgnn_dgl.tasks.clouds import CloudData


class PartDataset(CloudDataset):
    """Clouds with parts as batches: those of `CloudDataset`, with ``parts`` (batch, points) int64 beside them."""

    def __init__(self, clouds: PartClouds, changes: Augmentation | TestRotation | None = None, seed: int = 0) -> None:
        super().__init__(clouds, changes, seed)
        self._parts = torch.from_numpy(clouds.parts)

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the clouds, their labels and the parts of their points."""
        return {**super().batch(index, epochs), "parts": self._parts[index]}


class PartData(CloudData[PartClouds]):
    """The built-in shapes with the parts of their points, for training, validation and testing.

    Batches are dictionaries of ``points`` (B, N, 3) float32, ``labels`` (B,) int64, ``parts`` (B, N) int64 and
    ``index`` (B,) int64. What a sample looks like depends on (seed, epoch, index) alone.

    Parameters
    ----------
    num_points
        Points per shape.
    batch_size
        Shapes per step and process.
    train_rotation
        Random rotation of the training and validation shapes: "none", "z" (about the vertical axis) or "SO3" (uniform).
    test_rotations
        Rotations under which the test shapes are tried.
    validation_fraction
        Share of the training split that is held out, stratified by class.
    scale
        Range of the random factor along each axis in training.
    translation
        Largest random shift along each axis in training.
    jitter
        Standard deviation of the random shift of each point in training, cut off at five times its size.
    num_workers
        Worker processes that prepare batches; 0 prepares them in the main process.
    seed
        Seed of validation split, order, augmentation and rotations.
    progress
        Show a progress bar on stderr where making the shapes takes long.
    """

    dataset = PartDataset

    def __init__(
        self,
        num_points: int = 1024,
        batch_size: int = 32,
        train_rotation: RotationMode = "SO3",
        test_rotations: tuple[RotationMode, ...] = ("z", "SO3"),
        validation_fraction: float = 0.1,
        scale: tuple[float, float] = (0.8, 1.2),
        translation: float = 0.1,
        jitter: float = 0.01,
        num_workers: int = 0,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        if num_points < 2:
            raise InputError(f"data.num_points is {num_points}; give a whole number of at least 2")
        super().__init__(
            "built-in shapes",
            num_points,
            batch_size,
            train_rotation,
            test_rotations,
            validation_fraction,
            scale,
            translation,
            jitter,
            num_workers,
            seed,
            progress,
        )

    def read(self, split: Literal["train", "test"]) -> PartClouds:
        """Make the shapes of a split."""
        return builtin_parts(split, self.num_points, progress=self.progress)

    @property
    def num_parts(self) -> int:
        """Number of parts of all classes."""
        return self.kinds.num_parts

    def reading(self) -> dict[str, Any]:
        """Return the options that say what is tested on, as plain values."""
        return {"num_points": self.num_points}


def allowed_parts(clouds: PartClouds) -> Tensor:
    """Return which parts each class has, (classes, parts) bool."""
    return torch.from_numpy(np.arange(clouds.num_classes)[:, None] == clouds.part_classes)
