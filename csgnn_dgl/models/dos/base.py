"""What the models of the density of states (DOS) share: atoms' contributions are summed to a snapshot's (Sec. 4.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.graphs.relation import Relation
from csgnn_dgl.mapping.environments import CUTOFF, Environments
from csgnn_dgl.models.base import Model, Registry
from csgnn_dgl.nn.norm import NormReLU
from csgnn_dgl.nn.ops.intra import Edges, neighbour_sum

MOMENTUM = 0.01
"""Share of a batch in the running averages of batch norm, a tenth of the usual one."""


SMALLEST_SCALE = 1e-4
"""What is added to the standard deviations of features, so that one that never changes counts for nothing."""


DOS_MODELS: Registry[DOSModel] = Registry("dos", "model of the DOS", "csgnn_dgl.models.dos")
"""The models of the density of states by their names on the command line and in checkpoints."""


Output = Literal["published", "linear"]
"""What makes the DOS of the features of atoms: the layers of Fig. 7 (`DOSOutput`), or one layer (`LinearOutput`)."""


def make_output(output: Output, channels: int, num_bins: int) -> DOSOutput | LinearOutput:
    """Make the end of a model of the DOS.

    Raises
    ------
    ValueError
        If `output` is unknown.
    """
    if output not in get_args(Output):
        raise ValueError(f"output must be one of {', '.join(get_args(Output))}, not {output!r}")
    return (LinearOutput if output == "linear" else DOSOutput)(channels, num_bins)


class DOSModel(Model, ABC):
    """A model of the DOS as the sum of what each atom contributes (Fig. 6).

    An ``nn.Module`` from elsewhere with these calls and the attributes `cutoff`, `num_bins` and `elements` is one too.

    Parameters
    ----------
    cutoff
        Radius in Å within which the atoms of an environment lie.
    num_bins
        Number of energy bins.
    elements
        Atomic number of the element that the model is for; no model here tells one element from another.

    Attributes
    ----------
    cutoff, num_bins, elements
        As the parameters.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    registry = DOS_MODELS
    output: Any  # DOSOutput or LinearOutput

    def __init__(self, cutoff: float = CUTOFF, num_bins: int = 310, elements: Sequence[int] = (6,)) -> None:
        super().__init__()
        if not 0 < cutoff < float("inf"):
            raise ValueError(f"cutoff must be a length in Å, not {cutoff!r}")
        check_counts(num_bins=num_bins)
        if len(elements) != 1 or not 1 <= elements[0] <= 118:
            raise ValueError(f"elements must hold one atomic number from 1 to 118, not {elements!r}")
        self.cutoff = float(cutoff)
        self.num_bins = num_bins
        self.elements = tuple(elements)

    def average_for_longer(self) -> None:
        """Give all norms averages over about `1 / MOMENTUM` batches; each class calls it when its layers are there.

        A batch holds a few snapshots of different structures, so its mean and variance scatter, and with them would the
        predictions: a relative error of 1e-3 in the DOS is 0.03 eV/atom in the band energy.
        """
        for module in self.modules():
            if isinstance(module, NormReLU):
                module.momentum = MOMENTUM

    @abstractmethod
    def atom_dos(self, environments: Environments) -> Tensor:
        """Predict what each atom contributes to the DOS.

        Parameters
        ----------
        environments
            The environments of the N atoms of whole snapshots, found with the model's cutoff.

        Returns
        -------
        torch.Tensor
            (N, num_bins) states per eV; float64 in a model of float64, else float32, in autocast.

        Raises
        ------
        ValueError
            In training, if there is one atom only, and if the environments are not those that the model wants.
        """

    def forward(self, environments: Environments, snapshot: Tensor, num_snapshots: int) -> Tensor:
        """Predict the DOS per atom of snapshots: the sum over their atoms, divided by the number of these.

        With a :class:`LinearOutput`, one more column holds the mean of what the atoms say of the Fermi level.

        The sums are the same bits in every run.

        Parameters
        ----------
        environments
            The environments of the N atoms of all snapshots, found with the model's cutoff.
        snapshot
            (N,) int64: the snapshot, 0 to num_snapshots - 1, that each atom belongs to.
        num_snapshots
            Number of snapshots.

        Returns
        -------
        torch.Tensor
            (num_snapshots, num_bins) states per eV and atom.

        Raises
        ------
        ValueError
            If `snapshot` is of another length, or a snapshot has no atom.
        """
        return _means(self.atom_dos(environments), snapshot, num_snapshots)

    @torch.no_grad()
    def start_from(self, dos_per_atom: Tensor) -> None:
        """Make an untrained model predict the mean DOS of the training snapshots, with deviations of their kind.

        Without this, training spends its first thousands of steps on finding the scale, and which bins rise and fall
        together. The last norm gets the mean over the snapshots as its bias, and their standard deviation, 0.001 at
        least, as its weight. The rows of the linear layer before it become random mixtures of the principal components
        of the snapshots' DOS, each weighted by its singular value, at the lengths that they had; what the features do
        at random moves the DOS along these components then. The smoothing is scaled so that it keeps the integral.

        Parameters
        ----------
        dos_per_atom
            (S, num_bins) states per eV and atom of the training snapshots.

        Raises
        ------
        ValueError
            If the shape is another.
        """
        if dos_per_atom.dim() != 2 or dos_per_atom.shape[1] != self.num_bins or len(dos_per_atom) == 0:
            raise ValueError(f"DOS of shape (S, {self.num_bins}) with S > 0 expected, got {tuple(dos_per_atom.shape)}")
        _, sizes, components = torch.linalg.svd(
            dos_per_atom.double() - dos_per_atom.double().mean(dim=0), full_matrices=False
        )
        if sizes[0] > 0:
            rows = self.output.bins.weight
            # In the basis of the components random rows are as random as before.
            mixtures = nn.functional.normalize(components.T * sizes @ (components @ rows.double()), dim=1)
            rows.copy_(mixtures.to(rows.dtype) * rows.norm(dim=1, keepdim=True))
        self.output.norm.bias.copy_(dos_per_atom.mean(dim=0))
        self.output.norm.weight.copy_(dos_per_atom.std(dim=0, correction=0).clamp(min=1e-3))
        kernels = self.output.smoothing.weight
        kernels.mul_(len(kernels) / kernels.sum())


def _means(of_atoms: Tensor, snapshot: Tensor, num_snapshots: int) -> Tensor:
    """Return the means (num_snapshots, C) of (N, C) numbers of atoms over those of each snapshot."""
    if snapshot.shape != (len(of_atoms),):
        raise ValueError(f"{len(of_atoms)} atoms need as many snapshots, got {tuple(snapshot.shape)}")
    counts = torch.bincount(snapshot, minlength=num_snapshots)
    if len(counts) != num_snapshots or not counts.all():
        raise ValueError(f"snapshots must be numbered from 0 to {num_snapshots - 1}, each with at least one atom")
    atoms = torch.arange(len(snapshot), device=snapshot.device)
    relation = Relation(atoms, snapshot, (len(snapshot), num_snapshots))
    return neighbour_sum(of_atoms, Edges.of(relation)) / counts[:, None]


class DOSOutput(nn.Module):
    """Features of atoms to their DOS, as in Fig. 7.

    A linear layer, batch norm and ReLU give the energy bins; a 1-D convolution along the energy axis (1→3 channels,
    kernel 3, padding 1), ReLU and the mean over the 3 channels smooth them. It computes in float32 in autocast too:
    band energies need more digits than bfloat16 has.

    The kernels start near (0, 1, 0) and the biases at zero, so that the energy bins pass as they are: a channel that
    started negative would give zero for ever, since its inputs are not negative.

    Parameters
    ----------
    channels
        Features of each atom.
    num_bins
        Number of energy bins.

    Shapes
    ------
    - features: (N, channels); output: (N, num_bins), not negative.
    """

    def __init__(self, channels: int, num_bins: int) -> None:
        super().__init__()
        self.bins = nn.Linear(channels, num_bins)
        self.norm = NormReLU(num_bins)
        self.smoothing = nn.Conv1d(1, 3, kernel_size=3, padding=1)
        with torch.no_grad():
            self.smoothing.weight.uniform_(-0.1, 0.1)[..., 1] += 1
            assert self.smoothing.bias is not None
            self.smoothing.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        """Predict (N, num_bins); see the class."""
        with torch.autocast(features.device.type, enabled=False):
            bins = self.norm(self.bins(features.to(self.bins.weight.dtype)))
            return self.smoothing(bins[:, None]).relu().mean(dim=1)


class FeatureModel(DOSModel):
    """A model that makes features of the atoms first, and of them the DOS by its `output`.

    Where `output` is a `LinearOutput`, it predicts the Fermi level, too: a call returns (num_snapshots, num_bins + 1).
    """

    output: DOSOutput | LinearOutput

    @abstractmethod
    def atom_features(self, environments: Environments) -> Tensor:
        """Return what `output` makes the DOS of: (N, channels) features of the atoms; see `atom_dos`."""

    @property
    def is_linear(self) -> bool:
        """Whether the DOS of a snapshot is linear in the mean features of its atoms, and a Fermi level predicted."""
        return isinstance(self.output, LinearOutput)

    def forward(self, environments: Environments, snapshot: Tensor, num_snapshots: int) -> Tensor:
        """Predict the DOS of snapshots, and behind it the Fermi level in eV if `is_linear`; see `DOSModel`."""
        if not isinstance(self.output, LinearOutput):
            return super().forward(environments, snapshot, num_snapshots)
        return self.output.with_level(self.mean_features(environments, snapshot, num_snapshots))

    def mean_features(self, environments: Environments, snapshot: Tensor, num_snapshots: int) -> Tensor:
        """Return the means (num_snapshots, channels) of `atom_features` over the atoms of snapshots; see `forward`."""
        return _means(self.atom_features(environments), snapshot, num_snapshots)

    @torch.no_grad()
    def start_from(self, dos_per_atom: Tensor) -> None:
        """Make an untrained model predict the mean DOS; see `DOSModel`. A linear output predicts nothing else."""
        if not isinstance(self.output, LinearOutput):
            super().start_from(dos_per_atom)
            return
        nn.init.zeros_(self.output.bins.weight)
        self.output.bins.bias.copy_(dos_per_atom.mean(dim=0))


class LinearOutput(nn.Module):
    """Features of atoms to their DOS by a linear layer alone, and another one for the Fermi level.

    The DOS of a snapshot is then linear in the mean of its atoms' features, so that the best layer for given features
    is the solution of a system of linear equations, `solve`, instead of thousands of steps of an optimiser. Against
    Fig. 7 the norm, the ReLU and the smoothing are left out: the DOS may be a little below zero in places, which
    :func:`csgnn_dgl.electronic.filled_up_to` mends.

    Parameters
    ----------
    channels
        Features of each atom.
    num_bins
        Number of energy bins.

    Shapes
    ------
    - features: (N, channels); output: (N, num_bins).
    """

    def __init__(self, channels: int, num_bins: int) -> None:
        super().__init__()
        self.bins = nn.Linear(channels, num_bins)
        self.level = nn.Linear(channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Predict (N, num_bins) states per eV; see the class."""
        with torch.autocast(features.device.type, enabled=False):
            return self.bins(features.to(self.bins.weight.dtype))

    def with_level(self, features: Tensor) -> Tensor:
        """Predict (N, num_bins + 1): the DOS, and the Fermi level in eV."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.bins.weight.dtype)
            return torch.cat([self.bins(features), self.level(features)], dim=1)

    @torch.no_grad()
    def solve(self, features: Tensor, dos_per_atom: Tensor, levels: Tensor, ridge: float) -> None:
        """Set the layers to those of the least squared error, for the mean features of S snapshots.

        Features and targets are centred, the features divided by their standard deviations, and `ridge` times the
        squared weights is added to the mean squared error (ridge regression), all in float64.

        Parameters
        ----------
        features
            (S, channels) means over the atoms of each snapshot.
        dos_per_atom
            (S, num_bins) states per eV and atom.
        levels
            (S,) Fermi levels in eV.
        ridge
            Above 0.
        """
        features = features.double()
        targets = torch.cat([dos_per_atom, levels[:, None]], dim=1).to(features)
        mean, origin = features.mean(dim=0), targets.mean(dim=0)
        scale = features.std(dim=0, correction=0) + SMALLEST_SCALE
        scaled = (features - mean) / scale
        normal = scaled.T @ scaled / len(scaled)
        normal.diagonal().add_(ridge)
        weights = torch.linalg.solve(normal, scaled.T @ (targets - origin) / len(scaled)).T / scale
        biases = origin - weights @ mean
        for layer, rows in ((self.bins, slice(0, -1)), (self.level, slice(-1, None))):
            layer.weight.copy_(weights[rows])
            layer.bias.copy_(biases[rows])
