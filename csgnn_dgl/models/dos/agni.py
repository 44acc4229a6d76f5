"""AGNI fingerprints with a dense network, the baseline of hand-made descriptors in Table 2."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.models.dos.base import DOS_MODELS, FeatureModel, Output, make_output
from csgnn_dgl.nn.moments import Moments
from csgnn_dgl.nn.norm import NormReLU

SMALLEST_WIDTH = 0.5
"""Width in Å of the narrowest Gaussian."""

ATOMS_AT_ONCE = 1024
"""Atoms whose fingerprints are computed at a time, which bounds the memory."""


class AGNIFingerprint(nn.Module):
    r"""Rotation-invariant fingerprints of atomic environments (Botu et al. 2016, del Rio et al. 2020).

    With vectors r to the neighbours, Gaussians of the widths σ_k and the cutoff function f, an environment has for
    each k a scalar, a vector and a tensor:

    .. math::

        S_k = \sum_r g_k, \quad V_k = \sum_r \frac{r}{\sigma_k} g_k, \quad
        T_k = \sum_r \frac{r\,r^\top}{\sigma_k^2} g_k, \quad
        g_k = e^{-|r|^2 / 2\sigma_k^2} f(|r|), \quad f(d) = \frac{1}{2}\Big(\cos\frac{\pi d}{d_{cut}} + 1\Big)

    The fingerprint holds the four invariants

    .. math:: S_k, \quad |V_k|, \quad \ln(1 + T'_k), \quad \ln(1 + T''_k)

    where T' is the sum of the principal minors of the tensor and T'' its determinant. Against the published ones, the
    constants before the sums are left out and logarithms are taken, so that all four are of the same order; each can
    be had from the other. Sums are taken in float64, for the determinants of flat environments are small differences.

    Parameters
    ----------
    num_widths
        Number of Gaussians; σ_k grows by equal factors from 0.5 Å to the cutoff.
    cutoff
        Radius of the environments in Å.

    Shapes
    ------
    - Input: environments of N atoms; output: (N, 4 · num_widths) float64, width by width for each invariant.
    """

    def __init__(self, num_widths: int, cutoff: float) -> None:
        super().__init__()
        check_counts(num_widths=num_widths)
        if not cutoff > SMALLEST_WIDTH:
            raise ValueError(f"cutoff must be above {SMALLEST_WIDTH} Å, not {cutoff!r}")
        self.cutoff = cutoff
        # no buffer: as one it would turn to float32 with the model
        self.widths = torch.logspace(
            math.log10(SMALLEST_WIDTH), math.log10(cutoff), num_widths, dtype=torch.float64
        ).tolist()

    def forward(self, environments: Environments) -> Tensor:
        """Compute the fingerprints; see the class."""
        starts = range(0, max(len(environments), 1), ATOMS_AT_ONCE)
        with torch.autocast(environments.vectors.device.type, enabled=False):
            return torch.cat([self._compute(environments.chunk(start, start + ATOMS_AT_ONCE)) for start in starts])

    def _compute(self, environments: Environments) -> Tensor:
        vectors, centre = environments.vectors.double(), environments.centre
        squares = vectors.square().sum(dim=1)
        widths = vectors.new_tensor(self.widths)
        inside = (squares.sqrt() / self.cutoff).clamp(max=1)
        gaussians = (squares[:, None] / (-2 * widths**2)).exp() * ((math.pi * inside).cos() + 1)[:, None] / 2
        x, y, z = vectors.unbind(dim=1)
        products = torch.stack([x * x, y * y, z * z, x * y, y * z, z * x], dim=1)
        moments = torch.cat([torch.ones_like(x)[:, None], vectors, products], dim=1)
        # One matrix product for each atom, over its neighbours and zeros up to the largest number of these.
        counts = torch.bincount(centre, minlength=len(environments))
        place = torch.arange(len(centre), device=centre.device) - (counts.cumsum(0) - counts)[centre]
        shape = (len(environments), int(counts.max()) if len(counts) else 0)
        left, right = (table.new_zeros(*shape, table.shape[1]) for table in (gaussians, moments))
        left[centre, place], right[centre, place] = gaussians, moments
        sums = left.mT @ right
        scalar, vector, tensor = sums.split([1, 3, 6], dim=2)
        xx, yy, zz, xy, yz, zx = (tensor / widths[:, None] ** 2).unbind(dim=2)
        minors = xx * yy + yy * zz + zz * xx - xy**2 - yz**2 - zx**2
        determinant = xx * (yy * zz - yz**2) - xy * (xy * zz - yz * zx) + zx * (xy * yz - yy * zx)
        squared = (vector / widths[:, None]).square().sum(dim=2)
        # The length of a vector that vanishes by symmetry has no derivative; that of the energy is zero there.
        length = torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
        invariants = [scalar[..., 0], length, minors.clamp(min=0).log1p(), determinant.clamp(min=0).log1p()]
        return torch.cat(invariants, dim=1)

    def extra_repr(self) -> str:
        """Describe the module in its printed form."""
        return f"{len(self.widths)}, cutoff={self.cutoff:g}"


class Standardise(nn.Module):
    """Subtract the mean of each feature and divide by its standard deviation, over all rows seen in training.

    Means and deviations gather in float64 with every batch in training, over all processes, and forget nothing: the
    first epoch settles them. Before the first batch they are 0 and 1.

    Parameters
    ----------
    channels
        Number of features.
    eps
        What is added to the variance, so that a feature that never changes stays 0.

    Shapes
    ------
    - rows: (N, channels); output: the same.
    """

    mean: Tensor
    scatter: Tensor
    total: Tensor

    def __init__(self, channels: int, eps: float = 1e-4) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))

    def forward(self, rows: Tensor) -> Tensor:
        """Standardise; see the class."""
        if self.training:
            self._observe(Moments.of(rows.detach()).across_processes())
        mean, scatter, total = (buffer.to(rows.dtype) for buffer in (self.mean, self.scatter, self.total))
        variance = torch.where(total > 0, scatter / total.clamp(min=1), 1)
        return (rows - mean) * (variance + self.eps).rsqrt()

    @torch.no_grad()
    def _observe(self, moments: Moments) -> None:
        """Add the moments of a batch, as Chan, Golub & LeVeque (1983) do."""
        total = self.total + moments.total
        share, distance = moments.total / total, moments.mean - self.mean
        self.scatter += moments.scatter + distance**2 * (self.total * share)
        self.mean += distance * share
        self.total.copy_(total)


@DOS_MODELS.register("agni")
class AGNI(FeatureModel):
    """AGNI fingerprints and a dense network (del Rio et al. 2020), for the same target as CSGNNDOS.

    The standardised fingerprints go through three linear layers with batch norm and ReLU, and a
    :class:`~csgnn_dgl.models.dos.base.DOSOutput`. With the defaults there are 72 features and 391,797 parameters; the
    paper has a model of 392 K (Table 2). The DOS does not change when a snapshot is rotated, whichever way.

    Parameters
    ----------
    num_widths
        Number of Gaussians; each gives four features.
    hidden
        Width of the three layers.
    output
        As in :class:`~csgnn_dgl.models.CSGNNDOS`.
    **shared
        As in :class:`~csgnn_dgl.models.DOSModel`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = AGNI()
    >>> environments = find_environments([[0, 0, 0], [0, 0, 1.3], [0, 0, 2.6]], cutoff=model.cutoff)
    >>> model.eval()(environments, torch.tensor([0, 0, 0]), num_snapshots=1).shape
    torch.Size([1, 310])
    """

    symmetry = "SO3"
    tiny = MappingProxyType({"num_widths": 2, "hidden": 8})

    def __init__(self, num_widths: int = 18, hidden: int = 355, output: Output = "published", **shared: Any) -> None:
        super().__init__(**shared)
        check_counts(hidden=hidden)
        self.fingerprint = AGNIFingerprint(num_widths, self.cutoff)
        self.standardise = Standardise(4 * num_widths)
        self.dense = nn.Sequential()
        for inner in (4 * num_widths, hidden, hidden):
            self.dense.extend([nn.Linear(inner, hidden), NormReLU(hidden)])
        self.output = make_output(output, hidden, self.num_bins)
        self.average_for_longer()

    def atom_dos(self, environments: Environments) -> Tensor:
        """Predict what each atom contributes; see `DOSModel`. In training there must be more than one."""
        return self.output(self.atom_features(environments))

    def atom_features(self, environments: Environments) -> Tensor:
        """Return (N, hidden) features of the atoms; see `DOSModel`."""
        features = self.standardise(self.fingerprint(environments))
        return self.dense(features.to(self.output.bins.weight.dtype))
