"""Dropout that does not depend on the number of processes."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor, nn

from csgnn_dgl.nn.moments import num_processes


class SharedDropout(nn.Dropout):
    """Dropout of features (B, ...) whose mask is that of the batch of all processes.

    Of n processes, process r is taken to hold the samples r, r + n, r + 2n, ... of the batch, as `EpochSampler` deals
    them out. Where torch's generators have the same state in all processes, which `TrainingModule` sees to, n processes
    with B samples each drop what one process with n·B samples drops. One process alone does what `torch.nn.Dropout`
    does.

    Parameters
    ----------
    p
        Share of the features that are dropped in training.
    inplace
        Whether the features may be overwritten.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Set a share p of the features to 0 and divide the others by 1 - p, in training."""
        count = num_processes()
        if count == 1 or not self.training:
            return super().forward(features)
        everyone = features.new_ones(count * len(features), *features.shape[1:])
        return features * nn.functional.dropout(everyone, self.p)[dist.get_rank() :: count]
