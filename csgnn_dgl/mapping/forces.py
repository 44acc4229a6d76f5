"""Forces on atoms from the energies of their environments."""

import torch
from torch import Tensor

from csgnn_dgl.mapping.environments import Environments


def forces_of(energy: Tensor, environments: Environments, create_graph: bool = False) -> Tensor:
    """Return the forces on atoms, the negative gradients of an energy with respect to their positions.

    Parameters
    ----------
    energy
        () or (S,) energies in eV, which are summed.
    environments
        What they were computed from; the vectors require gradients.
    create_graph
        Whether the forces are to have gradients themselves, as in a loss.

    Returns
    -------
    torch.Tensor
        (N, 3) in eV/Å, in the dtype of the vectors.
    """
    (slopes,) = torch.autograd.grad(
        energy.sum(), environments.vectors, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    # A vector leads from its centre to its neighbour.
    forces = slopes.new_zeros(len(environments), 3).index_add(0, environments.centre, slopes)
    return forces.index_add(0, environments.neighbour, -slopes)
