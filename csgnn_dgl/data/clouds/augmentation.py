"""Random changes of clouds, each a function of (seed, epoch, index) and of nothing else.

The order of A.2 as published: scale each axis, rotate, translate, jitter; then divide by the largest norm.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from csgnn_dgl.data.loading import EVALUATION_STREAM, check_seed
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.geometry.rotations import RotationMode

ROTATION_MODES: tuple[RotationMode, ...] = ("none", "z", "SO3")


@dataclass(frozen=True)
class Draws:
    """What was drawn for the samples of one batch; float32 on the CPU when drawn.

    Parameters
    ----------
    scale
        Factor of each axis, (batch, 3).
    rotation
        Rotation matrices, (batch, 3, 3).
    translation
        Shift of the whole cloud, (batch, 3).
    jitter
        Shift of each point, (batch, points, 3), clipped already.
    """

    scale: Tensor
    rotation: Tensor
    translation: Tensor
    jitter: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Draws":
        """Return the same draws on another device and in another dtype."""
        return Draws(
            self.scale.to(device, dtype),
            self.rotation.to(device, dtype),
            self.translation.to(device, dtype),
            self.jitter.to(device, dtype),
        )


@dataclass(frozen=True)
class Augmentation:
    """Random scale, rotation, shift and jitter of training clouds (A.2).

    Parameters
    ----------
    scale
        Smallest and largest factor; each axis draws its own, uniformly.
    translation
        Each axis is shifted by a uniform number in [-translation, translation].
    jitter_std
        Standard deviation of the normal noise on every coordinate.
    jitter_clip
        Noise beyond this size is cut to it.
    rotation
        ``"SO3"``: uniform over all rotations (Haar); ``"z"``: uniform about the vertical axis; ``"none"``.

    Raises
    ------
    InputError
        If a number is negative, NaN or infinite, the scale range is empty or not positive, or the rotation
        unknown.

    Examples
    --------
    >>> augmentation = Augmentation(rotation="z")
    >>> draws = augmentation.draw(seed=0, epoch=3, indices=[7, 2], num_points=1024)
    >>> augmentation.apply(torch.rand(2, 1024, 3), draws).shape
    torch.Size([2, 1024, 3])
    """

    scale: tuple[float, float] = (0.8, 1.2)
    translation: float = 0.1
    jitter_std: float = 0.01
    jitter_clip: float = 0.05
    rotation: str = "SO3"

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple(float(factor) for factor in self.scale))
        if len(self.scale) != 2 or not 0.0 < self.scale[0] <= self.scale[1] < np.inf:
            raise InputError(f"augmentation scale is {self.scale}; give two positive factors, the smaller first.")
        for name in ("translation", "jitter_std", "jitter_clip"):
            value = getattr(self, name)
            if not 0.0 <= value < np.inf:
                raise InputError(f"augmentation {name} is {value}; give a finite number that is not negative.")
        check_rotation_mode(self.rotation)

    def draw(self, seed: int, epoch: ArrayLike, indices: ArrayLike, num_points: int) -> Draws:
        """Draw for a batch of samples, each from ``numpy.random.default_rng([seed, epoch, index])``.

        What a sample draws depends neither on its batch nor on the process that draws it. Scale, translation
        and jitter are the same for every rotation mode.

        Parameters
        ----------
        seed
            Seed of the run, in [0, 2**32).
        epoch
            One epoch for all samples, or one for each.
        indices
            Index of each sample in its data set, (batch,).
        num_points
            Points per cloud.
        """
        check_seed(seed)
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        epochs = np.broadcast_to(np.asarray(epoch, dtype=np.int64), chosen.shape)
        low, high = self.scale
        mode = check_rotation_mode(self.rotation)
        scale = np.empty((len(chosen), 3))
        translation = np.empty((len(chosen), 3))
        jitter = np.empty((len(chosen), num_points, 3), dtype=np.float32)
        sources = [np.random.default_rng([seed, *key]) for key in zip(epochs.tolist(), chosen.tolist(), strict=True)]
        for row, rng in enumerate(sources):
            scale[row] = rng.uniform(low, high, 3)
            translation[row] = rng.uniform(-self.translation, self.translation, 3)
            rng.standard_normal(dtype=np.float32, out=jitter[row])
        rotation = random_rotations(len(chosen), sources, mode)
        noise = torch.from_numpy(jitter).mul_(self.jitter_std).clamp_(-self.jitter_clip, self.jitter_clip)
        return Draws(
            torch.from_numpy(scale).float(),
            torch.from_numpy(rotation).float(),
            torch.from_numpy(translation).float(),
            noise,
        )

    def apply(self, points: Tensor, draws: Draws) -> Tensor:
        """Scale, rotate, translate, jitter; then divide by the largest norm. No centring.

        Parameters
        ----------
        points
            Coordinates, (batch, points, 3), on any device. Left as it is.
        draws
            What :meth:`draw` returned for this batch.

        Returns
        -------
        Tensor
            New coordinates, (batch, points, 3); the largest norm of each cloud is 1.
        """
        if points.ndim != 3 or points.shape != draws.jitter.shape:
            raise ValueError(
                f"points have shape {tuple(points.shape)} but the draws are for {tuple(draws.jitter.shape)}"
            )
        on_device = draws.to(points.device, points.dtype)
        changed = rotate_clouds(points * on_device.scale[:, None], on_device.rotation)
        changed = changed + on_device.translation[:, None] + on_device.jitter
        return scale_to_unit_ball(changed)


@dataclass(frozen=True)
class TestRotation:
    """Rotations of test clouds, each a function of (seed, vote, index); a stream apart from the training's.

    Parameters
    ----------
    mode
        ``"SO3"``, ``"z"`` or ``"none"``, as in :class:`Augmentation`.
    seed
        Seed of the test, in [0, 2**32).
    """

    __test__ = False  # not a test case, whatever its name suggests to pytest

    mode: str = "SO3"
    seed: int = 0

    def __post_init__(self) -> None:
        check_rotation_mode(self.mode)
        check_seed(self.seed)

    def matrices(self, vote: int, indices: ArrayLike) -> Tensor:
        """Return the rotation of each sample in test pass number `vote`: (batch, 3, 3) float32 on the CPU."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        mode = check_rotation_mode(self.mode)
        sources = [np.random.default_rng([self.seed, vote, index, EVALUATION_STREAM]) for index in chosen.tolist()]
        return torch.from_numpy(random_rotations(len(chosen), sources, mode)).float()

    def apply(self, points: Tensor, vote: int, indices: ArrayLike) -> Tensor:
        """Rotate clouds (batch, points, 3), on any device, for test pass number `vote`."""
        return rotate_clouds(points, self.matrices(vote, indices))


def rotate_clouds(points: Tensor, rotations: Tensor) -> Tensor:
    """Apply to every point x of cloud b its rotation, x -> R_b x.

    Written as sums of products, not as a matrix product, so that a cloud gets the same bits in every batch.

    Parameters
    ----------
    points
        Coordinates, (batch, points, 3).
    rotations
        Matrices, (batch, 3, 3), of any device and dtype.

    Returns
    -------
    Tensor
        (batch, points, 3), of the device and dtype of `points`.
    """
    columns = rotations.to(points.device, points.dtype)[:, None]
    x, y, z = points[..., 0, None], points[..., 1, None], points[..., 2, None]
    return x * columns[..., 0] + y * columns[..., 1] + z * columns[..., 2]


def scale_to_unit_ball(points: Tensor) -> Tensor:
    """Divide each cloud (batch, points, 3) by its largest norm; a cloud of zeros stays as it is."""
    x, y, z = points.unbind(-1)
    largest = (x * x + y * y + z * z).amax(dim=-1).sqrt()
    return points / torch.where(largest > 0, largest, 1.0)[:, None, None]


def check_rotation_mode(mode: str) -> RotationMode:
    """Return `mode` if it is one of the three, else raise InputError."""
    for known in ROTATION_MODES:
        if mode == known:
            return known
    raise InputError(f"rotation mode is {mode!r}; give one of {', '.join(ROTATION_MODES)}.")
