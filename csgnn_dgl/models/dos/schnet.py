"""SchNet, the baseline of message passing between atoms in Table 2."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models.dos.base import DOS_MODELS, DOSModel, DOSOutput


@DOS_MODELS.register("schnet")
class SchNet(DOSModel):
    r"""SchNet (Schütt et al. 2017), for the same target as CSGNNDOS.

    Every atom i starts with the same learned features x and takes part in a number of interactions:

    .. math::

        x_i \leftarrow x_i + A_3\,s\Big(A_2 \sum_{j} A_1 x_j \circ W(d_{ij})\Big), \quad
        W(d) = f(d)\ B_2\,s(B_1\,e(d)), \quad s(x) = \ln\frac{1 + e^x}{2}

    where j runs over the neighbours of i and their periodic images, A and B are linear layers (A₁ without bias), e(d)
    are Gaussians whose centres lie evenly from 0 to the cutoff and whose width is the distance between these, and
    f(d) = (cos(π d / d_cut) + 1) / 2 lets messages fade at the cutoff. A linear layer with s and a
    :class:`DOSOutput` follow. With the defaults there are 976,830 parameters; the paper's Table 2
    has a model of 976 K. The DOS does not change when a snapshot is rotated, whichever way.

    The filters W are computed once for both directions of a pair.

    Parameters
    ----------
    num_features
        Features of each atom.
    num_filters
        Channels of the filters.
    num_interactions
        Number of interactions.
    num_gaussians
        Number of Gaussians e, 2 at least.
    hidden
        Width of the layer before the output.
    **shared
        As in :class:`~csgnn_dgl.models.DOSModel`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = SchNet()
    >>> environments = find_environments([[0, 0, 0], [0, 0, 1.3], [0, 0, 2.6]], cutoff=model.cutoff)
    >>> model(environments, torch.tensor([0, 0, 0]), num_snapshots=1).shape
    torch.Size([1, 310])
    """

    symmetry = "SO3"
    tiny = MappingProxyType(
        {"num_features": 8, "num_filters": 8, "num_interactions": 1, "num_gaussians": 4, "hidden": 8}
    )

    def __init__(
        self,
        num_features: int = 384,
        num_filters: int = 128,
        num_interactions: int = 3,
        num_gaussians: int = 50,
        hidden: int = 240,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_counts(num_features=num_features, num_filters=num_filters, num_interactions=num_interactions)
        check_counts(hidden=hidden)
        check_counts(2, num_gaussians=num_gaussians)
        self.num_gaussians = num_gaussians
        self.embedding = nn.Parameter(torch.randn(num_features))
        self.interactions = nn.ModuleList(
            Interaction(num_features, num_filters, num_gaussians) for _ in range(num_interactions)
        )
        self.readout = nn.Sequential(linear(num_features, hidden), ShiftedSoftplus())
        self.output = DOSOutput(hidden, self.num_bins)
        self.average_for_longer()

    def atom_dos(self, environments: Environments) -> Tensor:
        """Predict what each atom contributes; see `DOSModel`. Every pair must be there in both directions."""
        pairs = Pairs.of(environments)
        distance = pairs.distance.to(self.embedding.dtype)
        step = self.cutoff / (self.num_gaussians - 1)
        centres = torch.arange(self.num_gaussians, dtype=distance.dtype, device=distance.device) * step
        gaussians = ((distance[:, None] - centres).square() / (-2 * step**2)).exp()
        fading = ((distance / self.cutoff).clamp(max=1) * math.pi).cos().add(1).div(2)[:, None]
        features = self.embedding.expand(len(environments), -1)
        for interaction in self.interactions:
            features = features + interaction(features, gaussians, fading, pairs)
        return self.output(self.readout(features))


class Pairs(NamedTuple):
    """The pairs of neighbours of some snapshots, each once.

    Attributes
    ----------
    first, second
        (P,) int64: the two atoms of each pair; the same one twice for an atom and its own image.
    distance
        (P,) their distances in Å.
    order, offsets
        Atom i receives the messages ``order[offsets[i]:offsets[i + 1]]`` of the 2·P: those to the first atoms of all
        pairs, then those to the second.
    """

    first: Tensor
    second: Tensor
    distance: Tensor
    order: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, environments: Environments) -> Pairs:
        """Take one of the two directions in which each pair stands in `environments`.

        Raises
        ------
        ValueError
            If a pair does not stand there in both directions.
        """
        centre, neighbour, vectors = environments.centre, environments.neighbour, environments.vectors
        x, y, z = vectors.unbind(dim=1)
        ahead = (x > 0) | (x == 0) & ((y > 0) | (y == 0) & (z > 0))
        chosen = torch.where(centre == neighbour, ahead, centre < neighbour)
        first, second = centre[chosen], neighbour[chosen]
        if 2 * len(first) != len(centre) or (len(second) and int(second.max()) >= len(environments)):
            raise ValueError("environments of all atoms of whole snapshots expected, every pair in both directions")
        receivers = torch.cat([first, second])
        counts = torch.bincount(receivers, minlength=len(environments))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        distance = torch.linalg.vector_norm(vectors[chosen], dim=1)
        return cls(first, second, distance, receivers.argsort(stable=True), offsets)

    def collect(self, features: Tensor, filters: Tensor) -> Tensor:
        """Return the sums Σ_j x_j ∘ W_ij (N, F) of `features` (N, F) with `filters` (P, F), in one order always."""
        messages = torch.cat([features[self.second] * filters, features[self.first] * filters])
        if len(messages) == 0:  # which embedding_bag refuses
            return torch.zeros_like(features)
        return nn.functional.embedding_bag(self.order, messages, self.offsets, mode="sum", include_last_offset=True)


class Interaction(nn.Module):
    """One interaction of SchNet: a continuous-filter convolution between linear layers.

    Parameters
    ----------
    num_features, num_filters, num_gaussians
        As in :class:`SchNet`.

    Shapes
    ------
    - features: (N, num_features); gaussians: (P, num_gaussians); fading: (P, 1), f(d).
    - output: (N, num_features), what is to be added to the features.
    """

    def __init__(self, num_features: int, num_filters: int, num_gaussians: int) -> None:
        super().__init__()
        self.filters = nn.Sequential(
            linear(num_gaussians, num_filters), ShiftedSoftplus(), linear(num_filters, num_filters)
        )
        self.before = linear(num_features, num_filters, bias=False)
        self.after = nn.Sequential(
            linear(num_filters, num_features), ShiftedSoftplus(), linear(num_features, num_features)
        )

    def forward(self, features: Tensor, gaussians: Tensor, fading: Tensor, pairs: Pairs) -> Tensor:
        """Exchange messages; see the class."""
        return self.after(_Messages.apply(self.before(features), self.filters(gaussians) * fading, pairs))


class ShiftedSoftplus(nn.Module):
    """The activation ln((1 + eˣ) / 2), which is 0 at 0."""

    def forward(self, features: Tensor) -> Tensor:
        """Apply it to each number."""
        return nn.functional.softplus(features) - math.log(2)


def linear(inner: int, outer: int, bias: bool = True) -> nn.Linear:
    """Return a linear layer drawn as SchNet's: weights after Glorot & Bengio (2010), biases zero."""
    layer = nn.Linear(inner, outer, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class _Messages(torch.autograd.Function):
    """`Pairs.collect`, of which nothing is kept but its arguments: it is its own transpose, since pairs are mutual."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, filters: Tensor, pairs: Pairs) -> Tensor:
        ctx.save_for_backward(features, filters)
        ctx.pairs = pairs
        return pairs.collect(features, filters)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        features, filters = ctx.saved_tensors
        first, second = ctx.pairs.first, ctx.pairs.second
        filter_gradient = gradient[first] * features[second] + gradient[second] * features[first]
        feature_gradient = _Messages.apply(gradient, filters, ctx.pairs)
        return feature_gradient.to(features.dtype), filter_gradient.to(filters.dtype), None
