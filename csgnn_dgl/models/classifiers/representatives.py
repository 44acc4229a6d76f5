"""What ShellNet and RIConv share: fewer and fewer representative points, each of which answers by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import Classifier
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.ops.points import farthest_points, gather, nearest
from csgnn_dgl.nn.shells import ShellMax

POINT_WIDTHS = (32, 64)
"""Channels that both methods make of a neighbour's geometry."""


class ShellConv(nn.Module, ABC):
    """Convolution over shells: from K neighbours of each representative, in D shells, to C channels.

    A subclass says what the geometry of a neighbour is and how the neighbours are cut into shells. The geometry goes
    through `lift`, the maximum of that and of the neighbours' previous features is taken in each shell, and `mix`
    makes one vector of all shells.

    Parameters
    ----------
    lift
        From the geometry of a neighbour to its features before the last ReLU.
    mix
        From (B, P, D, F) to (B, P, C).
    num_neighbours, num_shells, num_representatives
        K, D and P.
    form
        As in :class:`~csgnn_dgl.nn.shells.ShellMax`.
    """

    skipped = 0
    """How many of the nearest points are no neighbours."""

    def __init__(
        self,
        lift: nn.Module,
        mix: nn.Module,
        num_neighbours: int,
        num_shells: int,
        num_representatives: int,
        form: Form,
    ) -> None:
        super().__init__()
        self.num_neighbours, self.num_shells = num_neighbours, num_shells
        self.num_representatives = num_representatives
        self.lift, self.pool, self.mix = lift, ShellMax(form), mix

    @property
    def num_needed(self) -> int:
        """Number of points without which there are not enough neighbours or representatives."""
        return max(self.num_neighbours + self.skipped, self.num_representatives)

    @abstractmethod
    def describe(self, points: Tensor, chosen: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut neighbourhoods into shells.

        Parameters
        ----------
        points
            (B, N, 3) positions.
        chosen
            (B, P, 3) representatives.
        index
            (B, P, K) neighbours, from near to far.

        Returns
        -------
        tuple of torch.Tensor
            The neighbours (B, P, K) by shell, the sizes (B, P, D) of the shells, and the geometry (B, P, K, G) of the
            neighbours in that order.
        """

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the representatives (B, P, 3) of points (B, N, 3) with features (B, N, C'), and theirs (B, P, C)."""
        chosen = gather(points, farthest_points(points, self.num_representatives))
        index = nearest(points, chosen, self.num_neighbours + self.skipped)[..., self.skipped :]
        index, sizes, geometry = self.describe(points, chosen, index)
        lifted = self.lift(geometry.to(next(self.parameters()).dtype))
        return chosen, self.mix(self.pool(index, sizes, lifted, features))


class RepresentativeClassifier(Classifier, ABC):
    """A classifier whose last representatives answer one by one; the cloud's logits are the mean of their logits.

    In training each of them has the label of the cloud: the loss is the mean of their cross-entropies.

    Parameters
    ----------
    neighbours, shells, representatives, widths
        K, D, P and C of each layer: from K neighbours in D shells around each of P points to C channels.
    form
        As in :class:`~csgnn_dgl.nn.shells.ShellMax`.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If they are not as many, or if a layer has fewer points than it needs.
    """

    head: nn.Module

    def __init__(
        self,
        neighbours: Sequence[int],
        shells: Sequence[int],
        representatives: Sequence[int],
        widths: Sequence[int],
        form: Form,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        lists = {"neighbours": neighbours, "shells": shells, "representatives": representatives, "widths": widths}
        if len({len(values) for values in lists.values()}) != 1 or not neighbours:
            told = ", ".join(f"{name} {list(values)}" for name, values in lists.items())
            raise ValueError(f"every layer needs a number in each list, got {told}; make them equally long")
        for name, values in lists.items():
            for value in values:
                check_counts(**{name: value})
        layers: list[ShellConv] = []
        inner = 0
        for count, parts, chosen, outer in zip(neighbours, shells, representatives, widths, strict=True):
            layer = self.make_layer(count, parts, chosen, inner, outer, form)
            if layers and layer.num_needed > layers[-1].num_representatives:
                raise ValueError(
                    f"layer {len(layers) + 1} needs {layer.num_needed} points and the one before has "
                    f"{layers[-1].num_representatives} representatives; give that one more or this one fewer"
                )
            layers.append(layer)
            inner = outer
        self.num_needed = layers[0].num_needed
        self.layers = nn.ModuleList(layers)

    @abstractmethod
    def make_layer(
        self,
        num_neighbours: int,
        num_shells: int,
        num_representatives: int,
        in_channels: int,
        out_channels: int,
        form: Form,
    ) -> ShellConv:
        """Return a layer; the first has no features before it, 0 channels."""

    def answers(self, points: Tensor) -> Tensor:
        """Return what each of the last representatives says of points (B, N, 3): logits (B, P, num_classes).

        Raises
        ------
        ValueError
            If the shape is another, there are too few points, a coordinate is not finite or all points of a cloud lie
            at the origin.
        """
        points = scale_to_unit_ball(points)
        if points.shape[1] < self.num_needed:
            raise ValueError(
                f"{type(self).__name__} needs clouds of at least {self.num_needed} points for its neighbourhoods and "
                f"representatives, got {points.shape[1]}; give more points, or fewer neighbours and representatives"
            )
        features = None
        for layer in self.layers:
            points, features = layer(points, features)
        return self.head(features)

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds (B, N, 3): logits (B, num_classes). Raises ValueError as `answers`."""
        return self.answers(points).mean(dim=1)

    def loss(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy of all representatives, and the logits; see :meth:`Classifier.loss`."""
        answers = self.answers(self.pose_for_training(points))
        repeated = labels[:, None].expand(answers.shape[:2])
        return self.cross_entropy(answers.flatten(0, 1), repeated.flatten()), answers.mean(dim=1)
