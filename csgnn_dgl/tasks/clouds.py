"""What the data of tasks on point clouds share: rotations, augmentation, validation split and loaders."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from itertools import product
from typing import Any, ClassVar, Generic, Literal, TypeVar

from torch import Tensor
from torch.utils.data import DataLoader

from csgnn_dgl.data.clouds import Augmentation, CloudDataset, PointClouds, TestRotation, stratified_split
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry.rotations import RotationMode
from csgnn_dgl.training.data import EpochData

Clouds = TypeVar("Clouds", bound=PointClouds)


class CloudData(EpochData, Generic[Clouds]):
    """Point clouds for training, validation and testing; a task says in `read` where they come from.

    What a sample looks like depends on (seed, epoch, index) in training and on (seed, vote, index) in testing, never
    on the number of workers or processes.

    Parameters
    ----------
    source
        Where the clouds come from.
    num_points
        Points per shape.
    batch_size
        Shapes per step and process.
    train_rotation
        Random rotation of the training and validation shapes: "none", "z" (about the vertical axis) or "SO3" (uniform).
    test_rotations
        Rotations under which the test shapes are tried.
    validation_fraction
        Share of the training split that is held out, stratified by class; None where nothing is.
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
    votes
        Rotated copies of each test shape.

    Raises
    ------
    InputError
        If an option is out of its range.
    """

    dataset: ClassVar[type[CloudDataset]] = CloudDataset

    def __init__(
        self,
        source: str,
        num_points: int,
        batch_size: int,
        train_rotation: RotationMode,
        test_rotations: tuple[RotationMode, ...],
        validation_fraction: float | None,
        scale: tuple[float, float],
        translation: float,
        jitter: float,
        num_workers: int,
        seed: int,
        progress: bool,
        votes: int = 1,
    ) -> None:
        super().__init__(source, batch_size, num_workers, seed)
        for name, value in (("num_points", num_points), ("votes", votes)):
            if value < 1:
                raise InputError(f"data.{name} is {value}; give a whole number of at least 1")
        if not test_rotations or len(set(test_rotations)) != len(test_rotations):
            raise InputError(f"data.test_rotations is {list(test_rotations)}; name each of z, SO3, none at most once")
        if validation_fraction is not None and not 0.0 < validation_fraction < 1.0:
            raise InputError(f"data.validation_fraction is {validation_fraction}; give a number between 0 and 1")
        self.num_points, self.progress, self.votes = num_points, progress, votes
        self.train_rotation, self.test_rotations = train_rotation, tuple(test_rotations)
        self.validation_fraction = validation_fraction
        self.augmentation = Augmentation(scale, translation, jitter, 5.0 * jitter, train_rotation)
        self.views = tuple(product(self.test_rotations, range(votes)))  # the passes of a test: rotation and vote
        self._clouds: dict[str, Clouds] = {}

    @abstractmethod
    def read(self, split: Literal["train", "test"]) -> Clouds:
        """Read or make the shapes of a split."""

    def clouds(self, split: Literal["train", "test"]) -> Clouds:
        """Return the shapes of a split, read at first use."""
        if split not in self._clouds:
            self._clouds[split] = self.read(split)
        return self._clouds[split]

    @property
    def kinds(self) -> Clouds:
        """The shapes of one split or the other, for what both have, such as the classes."""
        return self._clouds.get("test") or self.clouds("train")

    def description(self) -> dict[str, Any]:
        """Say what is trained on, as plain values for checkpoints and results."""
        return {**super().description(), "train_rotation": self.train_rotation}

    @property
    def test_clouds(self) -> Clouds:
        """Shapes of the test split."""
        return self.clouds("test")

    def split(self) -> tuple[Clouds, Clouds]:
        """Return the shapes to train on and those to validate on."""
        return self.held_out(self.clouds("train"))

    def held_out(self, whole: Clouds) -> tuple[Clouds, Clouds]:
        """Part shapes into those to train on and a stratified share to validate on."""
        assert self.validation_fraction is not None
        train, held_out = stratified_split(whole.labels, self.validation_fraction, self.seed)
        return whole.subset(train), whole.subset(held_out)

    @cached_property
    def _parts(self) -> tuple[Clouds, Clouds]:
        return self.split()

    @property
    def train_clouds(self) -> Clouds:
        """Shapes that are trained on."""
        return self._parts[0]

    @property
    def validation_clouds(self) -> Clouds:
        """Shapes that drive the schedule and the choice of the best checkpoint."""
        return self._parts[1]

    def setup(self, stage: str) -> None:
        """Read what the stage needs; the test split is not touched by training (unless it validates).

        Raises
        ------
        InputError
            If there are no shapes, or not enough for a batch or for the processes.
        """
        if stage == "test":
            if len(self.test_clouds) == 0:
                raise InputError(f"{self.source}: the test split is empty")
            self._check_shares(len(self.test_clouds), "test shape")
            return
        train, held_out = self._parts
        if stage == "fit":
            self.check_training(train)
        if len(held_out) == 0:
            raise InputError(f"{self.source}: no shapes are left to validate on; raise data.validation_fraction")
        self._check_shares(len(held_out), "validation shape")

    def check_training(self, train: Clouds) -> None:
        """Refuse shapes that nothing can be learned from."""
        self._check_batches(len(train), "shapes")

    def read_test(self) -> None:
        """Read the test split."""
        self.clouds("test")

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return augmented training batches in a new order each epoch; the last incomplete batch is dropped."""
        return self._loader(self.dataset(self.train_clouds, self.augmentation, self.seed), train=True)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the validation batches, each shape once, rotated as in training but the same in all epochs."""
        changes = TestRotation(self.train_rotation)
        return self._loader(self.dataset(self.validation_clouds, changes, self.seed), train=False)

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return one loader for each of `views`, each shape once."""
        return [
            self._loader(self.dataset(self.test_clouds, TestRotation(rotation), self.seed), False, epoch=vote)
            for rotation, vote in self.views
        ]
