"""CSGNN for the electronic density of states (Fig. 7)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping import NEIGHBOUR_MAPPINGS
from csgnn_dgl.mapping.environments import Environments
from csgnn_dgl.mapping.neighbours import Shells
from csgnn_dgl.models.dos.agni import Standardise
from csgnn_dgl.models.dos.base import DOS_MODELS, FeatureModel, Output, make_output
from csgnn_dgl.models.encoder import ConcentricEncoder, MakeConv
from csgnn_dgl.models.recompute import recomputed
from csgnn_dgl.nn.forms import Form
from csgnn_dgl.nn.frames import bond_frames
from csgnn_dgl.nn.moments import num_processes
from csgnn_dgl.nn.norm import NormReLU


@DOS_MODELS.register("csgnn")
class CSGNNDOS(FeatureModel):
    """Concentric spherical GNN that predicts each atom's share of the DOS (Sec. 4.2, Fig. 7, A.3).

    Neighbours within the cutoff are mapped to the grid's shells as 1/d, see `mapping`. At every level but the
    icosahedron, two intra-sphere convolutions (Eq. 2) and two radial ones (Eq. 3; with one sphere these are 1×1
    convolutions) are followed by mean pooling; on the icosahedron, one intra-sphere convolution, the mean over its
    vertices and the spheres, and a 1×1 convolution. Two dense layers and a :class:`DOSOutput`
    follow. Every convolution and dense layer has a bias, batch norm and ReLU; an intra-sphere convolution whose widths
    match adds its input. With the defaults there are 1,061,998 parameters, with one channel 1,061,006.

    Only `chunk` environments at a time are computed. Such a chunk is the batch of the batch norms in training; it
    takes every k-th atom of the batch, k being the number of chunks, so that every chunk has its share of each
    snapshot. In evaluation, chunks change nothing.

    The DOS does not change when a snapshot is turned by one of the 60 rotations of the icosahedron; with a frame, by
    any.

    Parameters
    ----------
    level
        Level l of the finest spheres, 0 to 5; the paper uses 3.
    num_spheres
        Number of spheres R; the paper uses 1.
    channels
        Shells per sphere C, the input channels; the paper uses 32.
    shells
        Where the shells begin; see :class:`~csgnn_dgl.mapping.NeighbourMapping`.
    mapping
        How neighbours get onto the grid: ``"nearest"``, the paper's :class:`~csgnn_dgl.mapping.NearestVertexMapping`,
        or ``"interpolated"``, the continuous :class:`~csgnn_dgl.mapping.InterpolatedMapping`.
    base_width
        F; intra-sphere convolutions have 8·F·2^i channels at the i-th level from the finest, radial ones 16·F·2^i, the
        dense layers 128·F. The paper's is 4.
    kernel_size
        Odd size K of the radial kernels; None: 1 with one sphere, else 3.
    self_loop
        Whether a vertex belongs to its own neighbourhood in Eq. 2.
    chunk
        Largest number of environments that are computed at a time, 3 at least, so that none is left alone.
    recompute
        Whether to keep the activations of one chunk only, and to compute the others a second time when their
        gradients are due: the same bits in bounded memory, in about 4/3 of the time. A batch that is one chunk is
        never computed twice.
    form
        Form of every layer: ``"auto"``, ``"compiled"``, ``"fast"`` or ``"reference"``.
    make_intra, make_radial
        Other convolutions than the paper's; see :class:`~csgnn_dgl.models.encoder.ConcentricEncoder`.
    output
        ``"published"``, the layers of Fig. 7 (:class:`~csgnn_dgl.models.dos.base.DOSOutput`), or ``"linear"``, one
        linear layer and one for the Fermi level (:class:`~csgnn_dgl.models.dos.base.LinearOutput`), which training
        solves for. They take the means over spheres and vertices of the features on the grid and at the end of every
        level, beside those of the dense layers.
    frame
        ``"bonds"``: each environment is turned into the frame of its nearest bonds
        (:func:`~csgnn_dgl.nn.frames.bond_frames`) before it is mapped; ``"none"``: it is mapped as it is.
    **shared
        As in :class:`~csgnn_dgl.models.DOSModel`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> model = CSGNNDOS(level=2, base_width=1)
    >>> environments = find_environments([[0, 0, 0], [0, 0, 1.3], [0, 0, 2.6]], cutoff=model.cutoff)
    >>> model(environments, torch.tensor([0, 0, 0]), num_snapshots=1).shape
    torch.Size([1, 310])
    """

    symmetry = "icosahedral"
    tiny = MappingProxyType({"level": 1, "channels": 2, "base_width": 1})

    def __init__(
        self,
        level: int = 3,
        num_spheres: int = 1,
        channels: int = 32,
        shells: Shells = "published",
        mapping: Literal["nearest", "interpolated", "gaussian"] = "nearest",
        frame: Literal["none", "bonds"] = "none",
        base_width: int = 4,
        kernel_size: int | None = None,
        self_loop: bool = True,
        chunk: int = 512,
        recompute: bool = True,
        form: Form = "auto",
        make_intra: MakeConv = None,
        make_radial: MakeConv = None,
        output: Output = "published",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        check_counts(base_width=base_width, num_spheres=num_spheres)
        check_counts(3, chunk=chunk)
        if mapping not in NEIGHBOUR_MAPPINGS:
            raise ValueError(f"mapping must be one of {', '.join(NEIGHBOUR_MAPPINGS)}, not {mapping!r}")
        if frame not in ("none", "bonds"):
            raise ValueError(f"frame must be none or bonds, not {frame!r}")
        if kernel_size is None:
            kernel_size = self.config["kernel_size"] = 1 if num_spheres == 1 else 3
        self.chunk = chunk
        self.recompute = recompute
        self.frame = frame
        self.mapping = NEIGHBOUR_MAPPINGS[mapping](level, num_spheres, channels, self.cutoff, shells)
        self.standardise = Standardise(channels) if mapping == "gaussian" else nn.Identity()
        sizes = [8 * base_width * 2**depth for depth in range(level + 1)]
        # The icosahedron's 1×1 convolution comes after the mean: it is the first dense layer.
        widths = [([size, size], [2 * size, 2 * size]) for size in sizes[:-1]] + [([sizes[-1]], [])]
        self.encoder = ConcentricEncoder(
            level, num_spheres, channels, widths, kernel_size, "mean", self_loop, form, False, make_intra, make_radial
        )
        width, hidden = sizes[-1], 128 * base_width
        self.dense = nn.Sequential()
        for inner, outer in ((width, 2 * width), (2 * width, hidden), (hidden, hidden)):
            self.dense.extend([nn.Linear(inner, outer), NormReLU(outer)])
        # One layer cannot make up for what the layers before it left out, so that it sees every level's features.
        seen = channels + sum(self.encoder.out_channels) if output == "linear" else 0
        self.output = make_output(output, seen + hidden, self.num_bins)
        self.average_for_longer()

    def atom_dos(self, environments: Environments) -> Tensor:
        """Predict what each atom contributes, chunk by chunk; see `DOSModel`."""
        return self._in_chunks(environments, self._dos)

    def atom_features(self, environments: Environments) -> Tensor:
        """Return the features of the atoms that `output` takes, chunk by chunk; see `DOSModel`."""
        return self._in_chunks(environments, self._features)

    def _in_chunks(self, environments: Environments, answer: Callable[[Environments], Tensor]) -> Tensor:
        """Answer for all atoms, a chunk at a time."""
        number = self._num_chunks(environments)
        if number == 1:
            return answer(environments)
        order, results = [], []
        for start in range(number):
            atoms = torch.arange(start, len(environments), number, device=environments.centre.device)
            part = environments_of(environments, atoms)
            # The gradient of the last chunk is due at once: its activations are the ones that are kept.
            again = self.recompute and torch.is_grad_enabled() and start < number - 1
            results.append(self._in_bounded_memory(answer, part) if again else answer(part))
            order.append(atoms)
        return torch.cat(results)[torch.cat(order).argsort()]

    def _num_chunks(self, environments: Environments) -> int:
        """Return the number of chunks; the same in all processes, since their batch norms wait for each other."""
        count = len(environments)
        if count == 0:
            raise ValueError("there are no atoms")
        number = -(-count // self.chunk)
        if self.training and num_processes() > 1:
            largest = torch.tensor(number, device=environments.centre.device)
            dist.all_reduce(largest, dist.ReduceOp.MAX)
            number = int(largest)
        if count < number:
            raise ValueError(f"{count} atoms cannot be cut into {number} chunks; give the processes equal shares")
        return number

    def _in_bounded_memory(self, answer: Callable[[Environments], Tensor], environments: Environments) -> Tensor:
        """Answer, and compute it again when its gradient is due."""

        def compute(vectors: Tensor, centre: Tensor, neighbour: Tensor) -> Tensor:
            return answer(Environments(vectors, centre, neighbour, len(environments)))

        return recomputed(compute, self, environments.vectors, environments.centre, environments.neighbour)

    def forward_grid(self, features: Tensor) -> Tensor:
        """Predict what each atom contributes to the DOS from its features on the grid, all atoms at a time.

        Parameters
        ----------
        features
            (R, V, N, C) features at the finest level, as the mapping gives them.

        Returns
        -------
        torch.Tensor
            (N, num_bins) states per eV, in the dtype of the weights.

        Raises
        ------
        ValueError
            If the shape is another, or in training N is 1.
        """
        return self.output(self._encoded(features))

    def _encoded(self, features: Tensor) -> Tensor:
        """Return the features (N, channels of `output`) of atoms from those on the grid."""
        dtype = self.output.bins.weight.dtype

        def mean(features: Tensor) -> Tensor:
            return features.to(dtype).mean(dim=(0, 1))

        if not self.is_linear:
            last = self.encoder(features)
            with torch.autocast(features.device.type, enabled=False):
                return self.dense(mean(last))
        _, levels = self.encoder.read(features, lambda found, pooled: mean(found))
        with torch.autocast(features.device.type, enabled=False):
            return torch.cat([mean(features), *levels, self.dense(levels[-1])], dim=1)

    def _mapped(self, environments: Environments) -> Tensor:
        """Return the features (R, V, n, C) of the atoms of one chunk on the grid."""
        if self.frame == "bonds":
            environments = in_bond_frames(environments, self.cutoff)
        features = self.mapping(environments)
        rows = self.standardise(features.view(-1, features.shape[-1]))
        return rows.view(features.shape).to(self.output.bins.weight.dtype)

    def _dos(self, environments: Environments) -> Tensor:
        """Return the DOS (n, num_bins) of the atoms of one chunk."""
        return self.forward_grid(self._mapped(environments))

    def _features(self, environments: Environments) -> Tensor:
        """Return the features of the atoms of one chunk."""
        return self._encoded(self._mapped(environments))


def in_bond_frames(environments: Environments, cutoff: float) -> Environments:
    """Return environments each turned into its :func:`~csgnn_dgl.nn.frames.bond_frames`."""
    vectors, centre = environments.vectors, environments.centre
    frames = bond_frames(vectors, centre, len(environments), cutoff)
    turned = (frames[centre] @ vectors.double()[:, :, None]).squeeze(2)
    return dataclasses.replace(environments, vectors=turned.to(vectors.dtype))


def environments_of(environments: Environments, atoms: Tensor) -> Environments:
    """Return the environments of some atoms (n,) int64, in that order; `neighbour` still counts all atoms."""
    counts = torch.bincount(environments.centre, minlength=len(environments))
    starts, wanted = counts.cumsum(0) - counts, counts[atoms]
    centre = torch.repeat_interleave(torch.arange(len(atoms), device=atoms.device), wanted)
    shift = starts[atoms] - (wanted.cumsum(0) - wanted)
    edges = torch.arange(len(centre), device=atoms.device) + shift[centre]
    return Environments(environments.vectors[edges], centre, environments.neighbour[edges], len(atoms))
