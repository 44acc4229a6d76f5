"""Mean and variance of the channels over all processes of a training."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_across_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes."""
    if num_processes() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


class Moments(NamedTuple):
    """Moments of the channels over observations.

    Attributes
    ----------
    mean
        (C,) float64.
    scatter
        (C,) float64, the sum of the squared distances from the mean.
    total
        (), or (C,) for each channel the same, float64: number of observations.
    """

    mean: Tensor
    scatter: Tensor
    total: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Measure rows (N, C)."""
        dtype = torch.float64 if rows.device.type == "cpu" else torch.promote_types(rows.dtype, torch.float32)
        variance, mean = torch.var_mean(rows.to(dtype), dim=0, correction=0)
        total = torch.full((), len(rows), dtype=torch.float64, device=rows.device)
        return cls(mean.double(), variance.double() * total, total)

    @property
    def variance(self) -> Tensor:
        """(C,) the biased variance."""
        return self.scatter / self.total

    def across_processes(self) -> Moments:
        """Return the moments over the observations of all processes, which may have different numbers of them.

        Means and scatters are gathered and combined as in Chan, Golub & LeVeque (1983): the sum of squares, from which
        the variance might be had in one go, loses digits.
        """
        if num_processes() == 1:
            return self
        own = torch.cat([self.mean, self.scatter, self.total[None]])
        everyone = [torch.empty_like(own) for _ in range(num_processes())]
        dist.all_gather(everyone, own)
        table = torch.stack(everyone)
        means, scatters = table[:, :-1].chunk(2, dim=1)
        counts = table[:, -1:]
        total = counts.sum()
        mean = (counts * means).sum(dim=0) / total
        scatter = (scatters + counts * (means - mean).square()).sum(dim=0)
        return Moments(mean, scatter, total)
