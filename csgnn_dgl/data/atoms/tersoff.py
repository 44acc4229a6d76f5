"""Tersoff's bond-order potential for carbon (Phys. Rev. Lett. 61, 2879, 1988): energies of the built-in snapshots."""

import math

import torch
from torch import Tensor

from csgnn_dgl.mapping.environments import Environments

REACH = 2.1
"""Distance in Å from which two atoms have no bond."""

BEGIN = 1.8
"""Distance in Å from which a bond fades."""

REPULSION, ATTRACTION = (1393.6, 3.4879), (346.74, 2.2119)
"""Size in eV and decay in 1/Å of the two pair terms."""

BETA, POWER = 1.5724e-7, 0.72751
C, D, H = 38049.0, 4.3484, -0.57058
"""What weakens a bond beside others, and how that depends on the angle between them."""


def tersoff_energies(environments: Environments) -> Tensor:
    """Return the energies of carbon atoms: half of the energies of their bonds.

    Parameters
    ----------
    environments
        The environments of N carbon atoms, found with a cutoff of `REACH` or more, in float64.

    Returns
    -------
    torch.Tensor
        (N,) float64 in eV, differentiable with respect to the vectors.
    """
    centre, vectors = environments.centre, environments.vectors
    distance = vectors.norm(dim=1)
    direction = vectors / distance[:, None]
    inside = ((distance - BEGIN) / (REACH - BEGIN)).clamp(0, 1)
    strength = ((inside * math.pi).cos() + 1) / 2
    counts = torch.bincount(centre, minlength=len(environments))
    beside, edges = counts[centre], torch.arange(len(centre))
    # Every pair of bonds of the same atom; the bonds of an atom follow each other.
    first = edges.repeat_interleave(beside)
    second = torch.arange(len(first)) - (beside.cumsum(0) - beside)[first]
    second = second + (counts.cumsum(0) - counts)[centre[first]]
    first, second = first[first != second], second[first != second]
    cosine = (direction[first] * direction[second]).sum(dim=1)
    angular = 1 + (C / D) ** 2 - C**2 / (D**2 + (H - cosine) ** 2)
    crowding = torch.zeros_like(distance).index_add(0, first, strength[second] * angular)
    order = (1 + (BETA * crowding.clamp(min=1e-9)) ** POWER) ** (-1 / (2 * POWER))
    (up, steep), (down, flat) = REPULSION, ATTRACTION
    bonds = strength * (up * (-steep * distance).exp() - order * down * (-flat * distance).exp())
    return bonds.new_zeros(len(environments)).index_add(0, centre, bonds / 2)
