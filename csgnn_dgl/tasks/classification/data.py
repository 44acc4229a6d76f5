"""The data of classification: labelled point clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from csgnn_dgl.data.clouds import PointClouds, load
from csgnn_dgl.data.clouds.dataset import numbers_of
from csgnn_dgl.data.text import read_lines
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import RotationMode
from csgnn_dgl.tasks.clouds import CloudData

Validation = Literal["split", "test"]


PROTOCOLS = {
    "split": "a stratified part of the training split",
    "test": "the test split (authors' protocol: it drives the schedule and picks the checkpoint)",
}


class ModelNetData(CloudData[PointClouds]):
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
        super().__init__(
            source,
            num_points,
            batch_size,
            train_rotation,
            test_rotations,
            validation_fraction if validation == "split" else None,
            scale,
            translation,
            jitter,
            num_workers,
            seed,
            progress,
            votes,
        )
        self.up_axis, self.validation = up_axis, validation
        self.train_shapes, self.features = train_shapes, tuple(features)

    def read(self, split: Literal["train", "test"]) -> PointClouds:
        """Read the shapes of a split."""
        return load(
            self.source,
            split,
            num_points=self.num_points,
            up_axis=self.up_axis,
            progress=self.progress,
            features=self.features,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels."""
        return tuple(self.kinds.class_names)

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

    def split(self) -> tuple[PointClouds, PointClouds]:
        """Return the shapes to train on and those to validate on, of `train_shapes` where they are named."""
        whole = self.clouds("train")
        if self.train_shapes is not None:
            whole = whole.named(read_lines(Path(self.train_shapes)), self.train_shapes)
        return (whole, self.test_clouds) if self.validation == "test" else self.held_out(whole)

    def check_training(self, train: PointClouds) -> None:
        """Refuse one class only, and batches of one shape where the batch norm of the network needs two."""
        super().check_training(train)
        self._check_classes(train)
        self._check_lone(lambda network: network(torch.from_numpy(train.points[:1]).float()), "shape")

    def _check_classes(self, train: PointClouds) -> None:
        """Refuse to train on one class."""
        if len(found := set(train.labels.tolist())) < 2:
            only = train.class_names[found.pop()]
            raise InputError(
                f"{self.source}: all {len(train)} training shapes are of the class {only!r}, and there is nothing to "
                f"tell apart; give shapes of two classes or more"
            )
