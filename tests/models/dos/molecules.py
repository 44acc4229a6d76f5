"""Small atomic structures for the tests of the DOS models."""

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl.mapping import Environments, find_environments
from csgnn_dgl.models import DOS_MODELS, DOSModel
from csgnn_dgl.nn import NormReLU

CUTOFF = 3.0
CELL = np.array([[2.6, 0, 0], [0.7, 2.9, 0], [-0.2, 0.4, 12]])
"""Smaller than the cutoff, so that atoms see their own images."""
PERIODIC = (True, True, False)


def positions(count: int, seed: int = 0) -> np.ndarray:
    """Positions (count, 3) in a column over CELL, no two closer than about 0.8 Å."""
    rng = np.random.default_rng(seed)
    fractions = np.stack([*rng.uniform(size=(2, count)), 0.08 * np.arange(count)], axis=1)
    return fractions @ CELL


def crystal(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Environments:
    """The environments of `count` atoms in CELL."""
    return find_environments(positions(count, seed), CELL, PERIODIC, CUTOFF, dtype)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Environments, Tensor]:
    """Two crystals and a cluster with a lonely atom: environments and snapshots of 16 atoms."""
    cluster = np.concatenate([positions(3, 7), [[30.0, 0, 0]]])
    parts = [crystal(5, 1, dtype), find_environments(cluster, cutoff=CUTOFF, dtype=dtype), crystal(7, 2, dtype)]
    return Environments.join(parts), torch.tensor([0] * 5 + [1] * 4 + [2] * 7)


def small(kind: str, dtype: torch.dtype = torch.float64, **changes: object) -> DOSModel:
    """A small model in evaluation mode with running averages that are not those of a fresh one."""
    sizes: dict[str, dict[str, object]] = {
        "csgnn": {"level": 2, "channels": 4, "base_width": 1},
        "agni": {"num_widths": 5, "hidden": 16},
        "schnet": {"num_features": 12, "num_filters": 8, "num_gaussians": 6, "hidden": 10},
    }
    torch.manual_seed(1)
    model = DOS_MODELS.build(kind, **{"cutoff": CUTOFF, "num_bins": 9, **sizes[kind], **changes}).to(dtype)
    for norm in model.modules():
        if isinstance(norm, NormReLU):
            nn.init.normal_(norm.weight, 1, 0.2), nn.init.normal_(norm.bias, 0.3, 0.3)
            norm.running_mean.normal_(0, 0.1), norm.running_var.uniform_(0.5, 1.5)
    return model.eval()
