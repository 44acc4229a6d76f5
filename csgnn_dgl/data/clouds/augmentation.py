"""Random changes of clouds, each a function of (seed, epoch, index) and of nothing else.

The order of A.2 as published: scale each axis, rotate, translate, jitter. The classifier divides by the largest norm.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from csgnn_dgl.data.loading import EVALUATION_STREAM, streams
from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.geometry.rotations import RotationMode

ROTATION_MODES: tuple[RotationMode, ...] = ("none", "z", "SO3")


@dataclass(frozen=True)
class Draws:
    """What was drawn for the clouds of one batch; float32 on the CPU when drawn.

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

    def apply(self, points: Tensor) -> Tensor:
        """Scale, rotate, translate, jitter. No centring, and no division by the largest norm.

        Parameters
        ----------
        points
            Coordinates, (batch, points, 3), on any device. Left as it is.

        Returns
        -------
        Tensor
            New coordinates, (batch, points, 3).
        """
        if points.shape != self.jitter.shape:
            shapes = tuple(points.shape), tuple(self.jitter.shape)
            raise ValueError("points have shape {} but the draws are for {}".format(*shapes))
        scale, shift, jitter = (part.to(points) for part in (self.scale, self.translation, self.jitter))
        return rotate_clouds(points * scale[:, None], self.rotation) + shift[:, None] + jitter

    def turn_normals(self, normals: Tensor) -> Tensor:
        """Scale and rotate normals (batch, points, 3) as the surface that they stand on: unit vectors, 0 where 0."""
        stretched = normals / self.scale.to(normals)[:, None]
        return rotate_clouds(torch.nn.functional.normalize(stretched, dim=-1), self.rotation)


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
    >>> draws.apply(torch.rand(2, 1024, 3)).shape
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
        """Draw for a batch of samples, each from its own stream; see :func:`csgnn_dgl.data.loading.streams`.

        Scale, translation and jitter are the same for every rotation mode.

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
        low, high = self.scale
        sources = streams(seed, epoch, indices)
        scale, translation = np.empty((2, len(sources), 3))
        jitter = np.empty((len(sources), num_points, 3), dtype=np.float32)
        for row, rng in enumerate(sources):
            scale[row] = rng.uniform(low, high, 3)
            translation[row] = rng.uniform(-self.translation, self.translation, 3)
            rng.standard_normal(dtype=np.float32, out=jitter[row])
        rotation = random_rotations(len(sources), sources, check_rotation_mode(self.rotation))
        noise = torch.from_numpy(jitter).mul_(self.jitter_std).clamp_(-self.jitter_clip, self.jitter_clip)
        scales, rotations, shifts = (torch.from_numpy(drawn).float() for drawn in (scale, rotation, translation))
        return Draws(scales, rotations, shifts, noise)


@dataclass(frozen=True)
class TestRotation:
    """Rotations of validation and test clouds; a stream apart from the training's.

    Parameters
    ----------
    mode
        ``"SO3"``, ``"z"`` or ``"none"``, as in :class:`Augmentation`.
    """

    __test__ = False  # not a test case, whatever its name suggests to pytest

    mode: str = "SO3"

    def __post_init__(self) -> None:
        check_rotation_mode(self.mode)

    def draw(self, seed: int, epoch: ArrayLike, indices: ArrayLike, num_points: int) -> Draws:
        """Draw for a batch of samples; see :meth:`Augmentation.draw`. In testing the epoch is the vote."""
        sources = streams(seed, epoch, indices, EVALUATION_STREAM)
        rotation = torch.from_numpy(random_rotations(len(sources), sources, check_rotation_mode(self.mode))).float()
        still = torch.zeros(len(sources), num_points, 3)
        return Draws(torch.ones(len(sources), 3), rotation, torch.zeros(len(sources), 3), still)


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


def check_rotation_mode(mode: str) -> RotationMode:
    """Return `mode` if it is one of the three, else raise InputError."""
    if mode not in ROTATION_MODES:
        raise InputError(f"rotation mode is {mode!r}; give one of {', '.join(ROTATION_MODES)}.")
    return mode
