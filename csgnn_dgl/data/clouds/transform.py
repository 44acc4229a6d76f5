"""What happens to clouds between their record and a classifier, in training, validation and testing alike."""

from dataclasses import dataclass

from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import normalize

from csgnn_dgl.data.clouds.augmentation import Augmentation, TestRotation
from csgnn_dgl.data.loading import check_seed
from csgnn_dgl.mapping.unit_ball import centre_clouds, scale_to_unit_ball


@dataclass(frozen=True)
class CloudTransform:
    """Centre, scale, augment and rotate clouds; all that is random is a function of (seed, epoch, index).

    The mean of each cloud's points moves to the origin and its largest norm becomes 1, which is the unit of the
    augmentation. What that makes of the largest norm, the classifier divides by.

    Parameters
    ----------
    changes
        What is drawn for each cloud: an :class:`Augmentation` for training, a :class:`TestRotation` for validation and
        testing, or nothing.
    seed
        Seed of the draws, in [0, 2**32).

    Examples
    --------
    >>> points = CloudTransform()(torch.as_tensor(read_cloud("chair.off"))[None])    # doctest: +SKIP
    >>> CSGNN(num_classes=10)(points)                                                # doctest: +SKIP
    """

    changes: Augmentation | TestRotation | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def __call__(
        self, points: Tensor, indices: ArrayLike | None = None, epoch: ArrayLike = 0, normalised: bool = False
    ) -> Tensor:
        """Return what a classifier gets to see.

        Parameters
        ----------
        points
            (B, N, 3) positions as a record holds them, any unit of length.
        indices
            (B,) place of each cloud in its data set; 0 to B - 1 if None.
        epoch
            One epoch for all clouds, or one for each. In testing the number of the vote.
        normalised
            Whether they are centred and scaled already; see :class:`csgnn_dgl.data.PointClouds`.

        Returns
        -------
        torch.Tensor
            (B, N, 3) float32.
        """
        return self.with_normals(points, None, indices, epoch, normalised)[0]

    def with_normals(
        self,
        points: Tensor,
        normals: Tensor | None,
        indices: ArrayLike | None = None,
        epoch: ArrayLike = 0,
        normalised: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the same, and normals (B, N, 3) as unit vectors on the surface that was scaled and turned."""
        if not normalised:
            points = scale_to_unit_ball(centre_clouds(points))
        points = points.float()
        if self.changes is None:
            return points, None if normals is None else normalize(normals, dim=-1)
        chosen = range(len(points)) if indices is None else indices
        draws = self.changes.draw(self.seed, epoch, chosen, points.shape[1])
        return draws.apply(points), None if normals is None else draws.turn_normals(normals)
