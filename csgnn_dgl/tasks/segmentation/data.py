"""The data of part segmentation: the built-in shapes, whose parts are known from how they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from csgnn_dgl.data import Augmentation, CloudDataset, PartClouds, TestRotation, builtin_parts, stratified_split
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import RotationMode
from csgnn_dgl.training.data import EpochData


class PartDataset(CloudDataset):
    """Clouds with parts as batches: those of `CloudDataset`, with ``parts`` (batch, points) int64 beside them."""

    def __init__(self, clouds: PartClouds, changes: Augmentation | TestRotation | None = None, seed: int = 0) -> None:
        super().__init__(clouds, changes, seed)
        self._parts = torch.from_numpy(clouds.parts)

    def batch(self, index: Tensor, epochs: Sequence[int]) -> dict[str, Tensor]:
        """Return the clouds, their labels and the parts of their points."""
        return {**super().batch(index, epochs), "parts": self._parts[index]}


class PartData(EpochData):
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
        super().__init__("built-in shapes", batch_size, num_workers, seed)
        if num_points < 2:
            raise InputError(f"data.num_points is {num_points}; give a whole number of at least 2")
        if not test_rotations or len(set(test_rotations)) != len(test_rotations):
            raise InputError(f"data.test_rotations is {list(test_rotations)}; name each of z, SO3, none at most once")
        if not 0.0 < validation_fraction < 1.0:
            raise InputError(f"data.validation_fraction is {validation_fraction}; give a number between 0 and 1")
        self.num_points, self.progress = num_points, progress
        self.train_rotation, self.test_rotations = train_rotation, tuple(test_rotations)
        self.validation_fraction = validation_fraction
        self.augmentation = Augmentation(scale, translation, jitter, 5.0 * jitter, train_rotation)
        self._clouds: dict[str, PartClouds] = {}

    def clouds(self, split: Literal["train", "test"]) -> PartClouds:
        """Return the shapes of a split, made or read at first use."""
        if split not in self._clouds:
            self._clouds[split] = builtin_parts(split, self.num_points, progress=self.progress)
        return self._clouds[split]

    @property
    def kinds(self) -> PartClouds:
        """The shapes of one split or the other, for what both have: classes and parts."""
        return self._clouds.get("test") or self.clouds("train")

    @property
    def num_parts(self) -> int:
        """Number of parts of all classes."""
        return self.kinds.num_parts

    def reading(self) -> dict[str, Any]:
        """Return the options that say what is tested on, as plain values."""
        return {"num_points": self.num_points}

    def description(self) -> dict[str, Any]:
        """Say what is trained on, as plain values for checkpoints and results."""
        return {**super().description(), "train_rotation": self.train_rotation}

    @property
    def test_clouds(self) -> PartClouds:
        """Shapes of the test split."""
        return self.clouds("test")

    @cached_property
    def _parts(self) -> tuple[PartClouds, PartClouds]:
        whole = self.clouds("train")
        train, held_out = stratified_split(whole.labels, self.validation_fraction, self.seed)
        return whole.subset(train), whole.subset(held_out)

    @property
    def train_clouds(self) -> PartClouds:
        """Shapes that are trained on."""
        return self._parts[0]

    @property
    def validation_clouds(self) -> PartClouds:
        """Shapes that drive the schedule and the choice of the best checkpoint."""
        return self._parts[1]

    def setup(self, stage: str) -> None:
        """Make what the stage needs.

        Raises
        ------
        InputError
            If there are not enough shapes for a batch, or for the processes.
        """
        if stage == "test":
            self._check_shares(len(self.test_clouds), "test shape")
            return
        if stage == "fit":
            self._check_batches(len(self.train_clouds), "shapes")
        self._check_shares(len(self.validation_clouds), "validation shape")

    def read_test(self) -> None:
        """Make the test split."""
        self.clouds("test")

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return augmented training batches in a new order each epoch; the last incomplete batch is dropped."""
        return self._loader(PartDataset(self.train_clouds, self.augmentation, self.seed), train=True)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the validation batches, each shape once, rotated as in training but the same in all epochs."""
        changes = TestRotation(self.train_rotation)
        return self._loader(PartDataset(self.validation_clouds, changes, self.seed), train=False)

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return one loader for each test rotation, each shape once."""
        return [
            self._loader(PartDataset(self.test_clouds, TestRotation(rotation), self.seed), train=False)
            for rotation in self.test_rotations
        ]


def allowed_parts(clouds: PartClouds) -> Tensor:
    """Return which parts each class has, (classes, parts) bool."""
    return torch.from_numpy(np.arange(clouds.num_classes)[:, None] == clouds.part_classes)
