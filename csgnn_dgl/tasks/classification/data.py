"""The data of classification: labelled point clouds."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from csgnn_dgl.data.clouds import Augmentation, CloudDataset, PointClouds, TestRotation, load, stratified_split
from csgnn_dgl.data.clouds.dataset import numbers_of
from csgnn_dgl.data.text import read_lines
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import RotationMode
from csgnn_dgl.training.data import EpochData

Validation = Literal["split", "test"]


PROTOCOLS = {
    "split": "a stratified part of the training split",
    "test": "the test split (authors' protocol: it drives the schedule and picks the checkpoint)",
}


class ModelNetData(EpochData):
    """Labelled point clouds for training, validation and testing.

    Batches are dictionaries of ``points`` (B, N, 3) float32, ``labels`` (B,) int64 and ``index`` (B,) int64. What a
    sample looks like depends on (seed, epoch, index) in training and on (seed, vote, index) in testing, never on the
    number of workers or processes.

    Parameters
    ----------
    source
        "builtin" for the shapes that come with the package; else a folder: of ModelNet40 in HDF5 files, or of
        ``class/{train,test}/*`` with one mesh or point file per shape.
    num_points
        Points per shape.
    batch_size
        Shapes per step and process.
    train_rotation
        Random rotation of the training and validation shapes: "none", "z" (about the vertical axis) or "SO3" (uniform).
    test_rotations
        Rotations under which the test shapes are classified.
    votes
        Rotated copies of each test shape whose predictions are averaged (test-time augmentation); 1 means no voting.
    validation
        "split": hold out a stratified `validation_fraction` of the training split. "test": validate on the test split,
        as the paper's authors did; results say so.
    validation_fraction
        Share of the training split that is held out.
    train_shapes
        Text file with the names of the shapes to train and validate on, one per line; None takes the whole training
        split.
    up_axis
        Vertical axis of the files: "y", "z", or "auto", which is y for ModelNet40 as published.
    features
        What the points carry beside their positions: "normals", "colours", "intensities"; a classifier that takes
        them, such as CSGNN, gets `num_features` numbers of each point.
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
        Show a progress bar on stderr where reading the data takes long.
    """

    def __init__(
        self,
        source: str = "builtin",
        num_points: int = 1024,
        batch_size: int = 32,
        train_rotation: RotationMode = "SO3",
        test_rotations: tuple[RotationMode, ...] = ("z", "SO3"),
        votes: int = 1,
        validation: Validation = "split",
        validation_fraction: float = 0.1,
        train_shapes: str | None = None,
        up_axis: Literal["auto", "y", "z"] = "auto",
        features: tuple[Literal["normals", "colours", "intensities"], ...] = (),
        scale: tuple[float, float] = (0.8, 1.2),
        translation: float = 0.1,
        jitter: float = 0.01,
        num_workers: int = 0,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(source, batch_size, num_workers, seed)
        for name, value in (("num_points", num_points), ("votes", votes)):
            if value < 1:
                raise InputError(f"data.{name} is {value}; give a whole number of at least 1")
        if not test_rotations or len(set(test_rotations)) != len(test_rotations):
            raise InputError(f"data.test_rotations is {list(test_rotations)}; name each of z, SO3, none at most once")
        if validation == "split" and not 0.0 < validation_fraction < 1.0:
            raise InputError(f"data.validation_fraction is {validation_fraction}; give a number between 0 and 1")
        self.num_points, self.up_axis, self.progress = num_points, up_axis, progress
        self.train_rotation, self.test_rotations, self.votes = train_rotation, tuple(test_rotations), votes
        self.validation, self.validation_fraction = validation, validation_fraction
        self.train_shapes, self.features = train_shapes, tuple(features)
        self.augmentation = Augmentation(scale, translation, jitter, 5.0 * jitter, train_rotation)
        self.views = tuple(product(self.test_rotations, range(votes)))  # the passes of a test: rotation and vote
        self._clouds: dict[str, PointClouds] = {}

    def clouds(self, split: Literal["train", "test"]) -> PointClouds:
        """Return the shapes of a split, read at first use."""
        if split not in self._clouds:
            self._clouds[split] = load(
                self.source,
                split,
                num_points=self.num_points,
                up_axis=self.up_axis,
                progress=self.progress,
                features=self.features,
            )
        return self._clouds[split]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels."""
        return tuple((self._clouds.get("test") or self.clouds("train")).class_names)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def num_features(self) -> int:
        """Numbers of each point beside its position; see `csgnn_dgl.data.CloudDataset`."""
        return numbers_of(self.features)

    def reading(self) -> dict[str, Any]:
        """Return the options that say what is read and tested on, as plain values."""
        given = {"features": list(self.features)} if self.features else {}
        return {"source": self.source, "num_points": self.num_points, "up_axis": self.up_axis, **given}

    def description(self) -> dict[str, Any]:
        """Say what is trained on and what drives the schedule, as plain values for checkpoints and results."""
        protocol = PROTOCOLS[self.validation]
        part = {} if self.train_shapes is None else {"train_shapes": self.train_shapes}
        rotation = {"train_rotation": self.train_rotation}
        return {"source": self.source, **part, **rotation, "validation": protocol, "seed": self.seed}

    @property
    def test_clouds(self) -> PointClouds:
        """Shapes of the test split."""
        return self.clouds("test")

    @cached_property
    def _parts(self) -> tuple[PointClouds, PointClouds]:
        whole = self.clouds("train")
        if self.train_shapes is not None:
            whole = whole.named(read_lines(Path(self.train_shapes)), self.train_shapes)
        if self.validation == "test":
            return whole, self.test_clouds
        train, held_out = stratified_split(whole.labels, self.validation_fraction, self.seed)
        return whole.subset(train), whole.subset(held_out)

    @property
    def train_clouds(self) -> PointClouds:
        """Shapes that are trained on."""
        return self._parts[0]

    @property
    def validation_clouds(self) -> PointClouds:
        """Shapes that drive the schedule and the choice of the best checkpoint."""
        return self._parts[1]

    def setup(self, stage: str) -> None:
        """Read what the stage needs; the test split is not touched by training (unless it validates).

        Raises
        ------
        InputError
            If there are not enough shapes for the processes, all are of one class, or a batch has one shape and
            the batch norm of the network needs two.
        """
        if stage == "test":
            if len(self.test_clouds) == 0:
                raise InputError(f"{self.source}: the test split is empty")
            self._check_shares(len(self.test_clouds), "test shape")
            return
        train, held_out = self._parts
        if stage == "fit":
            self._check_batches(len(train), "shapes")
            self._check_classes(train)
            self._check_lone(lambda network: network(torch.from_numpy(train.points[:1]).float()), "shape")
        if len(held_out) == 0:
            raise InputError(f"{self.source}: no shapes are left to validate on; raise data.validation_fraction")
        self._check_shares(len(held_out), "validation shape")

    def _check_classes(self, train: PointClouds) -> None:
        """Refuse to train on one class."""
        if len(found := set(train.labels.tolist())) < 2:
            only = train.class_names[found.pop()]
            raise InputError(
                f"{self.source}: all {len(train)} training shapes are of the class {only!r}, and there is nothing to "
                f"tell apart; give shapes of two classes or more"
            )

    def read_test(self) -> None:
        """Read the test split."""
        self.clouds("test")

    def train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        """Return augmented training batches in a new order each epoch; the last incomplete batch is dropped."""
        return self._loader(CloudDataset(self.train_clouds, self.augmentation, self.seed), train=True)

    def val_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        """Return the validation batches, each shape once, rotated as in training but the same in all epochs."""
        changes = TestRotation(self.train_rotation)
        return self._loader(CloudDataset(self.validation_clouds, changes, self.seed), train=False)

    def test_dataloader(self) -> list[DataLoader[dict[str, torch.Tensor]]]:
        """Return one loader for each of `views`, each shape once."""
        return [
            self._loader(CloudDataset(self.test_clouds, TestRotation(rotation), self.seed), False, epoch=vote)
            for rotation, vote in self.views
        ]
