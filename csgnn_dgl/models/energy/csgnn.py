"""CSGNN for energies: the encoder on smooth environments, without anything that would put kinks into the energy."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping import GaussianMapping
from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models.encoder import ConcentricEncoder
from csgnn_dgl.models.energy.base import ENERGY_MODELS, EnergyModel
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.norm import Norm


class CalibratedNorm(Norm):
    """Norm by moments that are measured once, before the training, and SiLU: a smooth function of each atom alone.

    Batch norm would let the energy of an atom depend on the batch in training, and ReLU has kinks.

    Parameters
    ----------
    channels
        Number of channels.
    smooth
        Whether SiLU follows.
    """

    def __init__(self, channels: int, smooth: bool = True) -> None:
        super().__init__(channels, eps=1e-6)
        self.smooth, self.calibrating = smooth, False

    @property
    def measures(self) -> bool:
        """Whether the moments are measured."""
        return self.calibrating

    def forward(self, features: Tensor) -> Tensor:
        """Normalise and activate (..., C)."""
        if self.calibrating:
            super().forward(features)
            self.running_var.masked_fill_(self.running_var < self.eps, 1.0)  # a channel that never changes
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        normal = features * scale + (self.bias - self.running_mean * scale)
        return silu(normal) if self.smooth else normal


@ENERGY_MODELS.register("csgnn")
class CSGNNEnergy(EnergyModel):
    """Concentric spherical GNN that predicts what each atom contributes to the energy of a molecule or cell.

    The neighbours of each element are mapped by :class:`~csgnn_dgl.mapping.GaussianMapping` to channels of their own.
    At every level two intra-sphere convolutions and a radial one are followed by mean pooling; the means of every
    level over spheres and vertices go through two linear layers, with the element of the atom in between. Instead of
    batch norm and ReLU there are moments that are measured once and SiLU, so that the energy is a smooth function of
    the positions, forces are its gradients, and an atom depends on its environment alone.

    The energy does not change when a structure is turned by one of the 60 rotations of the icosahedron; under others
    by little, see `docs/how-to/energies.md`.

    Parameters
    ----------
    level
        Level l of the finest spheres, 0 to 5.
    num_spheres
        Number of spheres R.
    channels
        Gaussians per sphere and element.
    base_width
        F; intra-sphere convolutions have 8·F·2^i channels at the i-th level from the finest, radial ones 16·F·2^i.
    hidden
        Width between the two linear layers.
    form
        Form of every layer: ``"auto"``, ``"compiled"``, ``"fast"`` or ``"reference"``.
    **shared
        As in :class:`EnergyModel`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = CSGNNEnergy(elements=(1, 8), level=1)
    >>> water = find_environments([[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]], cutoff=model.cutoff)
    >>> model(water, torch.tensor([8, 1, 1]), torch.tensor([0, 0, 0]), num_snapshots=1).shape
    torch.Size([1])
    """

    symmetry = "icosahedral"
    tiny = MappingProxyType({"level": 1, "num_spheres": 1, "channels": 4, "base_width": 1, "hidden": 8})

    def __init__(
        self,
        level: int = 1,
        num_spheres: int = 2,
        channels: int = 8,
        base_width: int = 1,
        hidden: int = 64,
        form: Form = "auto",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_counts(base_width=base_width, hidden=hidden)
        self.mapping = GaussianMapping(level, num_spheres, channels, self.cutoff)
        seen = channels * len(self.elements)
        self.standardise = CalibratedNorm(seen, smooth=False)
        sizes = [8 * base_width * 2**depth for depth in range(level + 1)]
        self.encoder = ConcentricEncoder(
            level,
            num_spheres,
            seen,
            [([size, size], [2 * size]) for size in sizes],
            3,
            "mean",
            form=form,
            make_norm=CalibratedNorm,
        )
        self.hidden = nn.Linear(seen + sum(self.encoder.out_channels), hidden)
        self.kinds = nn.Embedding(len(self.elements), hidden)
        self.output = nn.Linear(hidden, 1)

    def interactions(self, environments: Environments, kinds: Tensor) -> Tensor:
        """Return (N,) numbers for the environments of N atoms; see `EnergyModel`."""
        features = self.standardise(self._mapped(environments, kinds).to(self.output.weight.dtype))

        def mean(found: Tensor) -> Tensor:
            return found.mean(dim=(0, 1))

        _, levels = self.encoder.read(features, lambda found, pooled: mean(found))
        hidden = silu(self.hidden(torch.cat([mean(features), *levels], dim=1)) + self.kinds(kinds))
        return self.output(hidden).squeeze(1)

    def _mapped(self, environments: Environments, kinds: Tensor) -> Tensor:
        """Return the features (R, V, N, elements · C) of atoms on the grid."""
        if len(self.elements) == 1:
            return self.mapping(environments)
        whose, parts = kinds[environments.neighbour], []
        for kind in range(len(self.elements)):
            names = ("vectors", "centre", "neighbour")
            own = {name: getattr(environments, name)[whose == kind] for name in names}
            parts.append(self.mapping(dataclasses.replace(environments, **own)))
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def calibrate(self, environments: Environments, numbers: Tensor) -> None:
        """Measure the moments of all norms, and let all atoms begin at their reference energies."""
        norms = [module for module in self.modules() if isinstance(module, CalibratedNorm)]
        for norm in norms:
            norm.forget()
            norm.calibrating = True
        self.atom_energies(environments, numbers)
        for norm in norms:
            norm.calibrating = False
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
