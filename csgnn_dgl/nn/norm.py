"""Batch normalisation with what follows it: nothing, ReLU or leaky ReLU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from csgnn_dgl._compilers import traced
from csgnn_dgl.nn.moments import Moments, num_processes, sum_across_processes
from csgnn_dgl.nn.ops.registry import computes_itself, transformed


class Norm(nn.Module):
    r"""Batch norm per channel over everything else, and an activation by its slope s.

    .. math:: z = \gamma\,\frac{y - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \quad a = \max(z,\ s z)

    In training, mean μ and variance σ² are those of the batch, over all processes that train together, on
    CPUs and GPUs alike (`torch.nn.SyncBatchNorm` refuses CPUs); in evaluation, their running averages. Parameters and
    buffers are named and initialised as in `torch.nn.BatchNorm1d`.

    Parameters
    ----------
    channels
        Number of channels C.
    eps
        ε.
    momentum
        Share of each new batch in the running averages; a larger one for the first batches, whose plain mean they are.
    slope
        s, from 0 (ReLU) over 0.2 (a leaky ReLU) to 1 (no activation).

    Raises
    ------
    ValueError
        If the slope is not within [0, 1].

    Shapes
    ------
    - features: (..., C); output: the same.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1, slope: float = 1.0) -> None:
        super().__init__()
        if not 0 <= slope <= 1:
            raise ValueError(f"slope must be within [0, 1], not {slope!r}")
        self.slope = slope
        self.eps = eps
        self.momentum = momentum
        self.observing = True
        self._count: int | None = None  # of the batches tracked, where reading it would make a GPU wait
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @property
    def measures(self) -> bool:
        """Whether the layer normalises by the moments of the batch, as in training."""
        return self.training

    def forward(self, features: Tensor) -> Tensor:
        """Normalise and activate; see the class.

        Raises
        ------
        ValueError
            In training, if each channel has one observation only.
        """
        rows = features.reshape(-1, features.shape[-1])
        if self.measures:
            self.check_count(len(rows))
        if self.measures and num_processes() > 1:
            return _AcrossProcesses.apply(rows, self.weight, self.bias, self).view(features.shape)
        mean: Tensor | None = self.running_mean
        variance: Tensor | None = self.running_var
        share = 0.0
        if self.measures and (traced() or transformed() or computes_itself(rows)):
            # The share below is a number of Python's, which a trace would keep as it is.
            mean = variance = None
            if self.observing:
                self.observe(Moments.of(rows.detach()))
        elif self.measures and self.observing:
            share = self._share()
        elif self.measures:  # as many tensors as when observing: checkpointing counts what is kept for the gradient
            mean, variance = self.running_mean.clone(), self.running_var.clone()
        result = nn.functional.batch_norm(rows, mean, variance, self.weight, self.bias, self.measures, share, self.eps)
        return activated(result, self.slope).view(features.shape)

    def check_count(self, count: int) -> None:
        """Raise ValueError unless there is something to normalise."""
        if count == 0 or count * num_processes() == 1:
            raise ValueError("batch norm needs more than one observation of a channel in training; use a larger batch")

    @torch.no_grad()
    def observe(self, moments: Moments) -> None:
        """Add the moments of a batch to the running averages."""
        if not self.observing:
            return
        if torch._C._are_functorch_transforms_active():
            raise RuntimeError(
                "a batch norm in training moves its running averages, which the transforms of torch.func cannot do; "
                "use model.eval(), or csgnn_dgl.nn.without_observing(model) around the call"
            )
        unbiased = moments.scatter / (moments.total - 1).clamp(min=1)
        pairs = ((self.running_mean, moments.mean), (self.running_var, unbiased))
        if traced() or computes_itself(moments.mean):
            self.num_batches_tracked.add_(1)
            self._count = None
            weight = self.num_batches_tracked.double().reciprocal().clamp(min=self.momentum)
            for average, value in pairs:
                average.lerp_(value.to(average.dtype), weight.to(average.dtype))
        else:
            share = self._share()
            for average, value in pairs:
                average.lerp_(value.to(average.dtype), share)

    def forget(self) -> None:
        """Begin the running averages anew with the next batch."""
        self.num_batches_tracked.zero_()
        self._count = None

    def _share(self) -> float:
        """Count a batch and return its share in the running averages."""
        self.num_batches_tracked.add_(1)
        if self.num_batches_tracked.is_meta:  # no numbers to count with
            return self.momentum
        self._count = int(self.num_batches_tracked) if self._count is None else self._count + 1
        return max(self.momentum, 1 / self._count)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._count = None

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        return f"{len(self.weight)}, eps={self.eps}, momentum={self.momentum}, slope={self.slope:g}"


class NormReLU(Norm):
    r"""Batch norm per channel over spheres, vertices and samples, then ReLU: what follows every convolution.

    .. math:: z = \max\Big(0,\ \gamma\,\frac{y - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta\Big)

    Every vertex of every sphere is one observation of each channel, so turning the grid changes nothing: the layer is
    equivariant.

    Parameters
    ----------
    channels, eps, momentum
        As in :class:`Norm`.

    Shapes
    ------
    - features: (..., C); output: the same.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps, momentum, slope=0.0)


def activated(values: Tensor, slope: float) -> Tensor:
    """Return max(z, s·z), in place where there is something to do."""
    if slope == 1:
        return values
    return nn.functional.leaky_relu_(values, slope) if slope else values.relu_()


@contextmanager
def without_observing(module: nn.Module) -> Iterator[None]:
    """Keep the running averages of all norms of a module as they are, as when a batch is computed a second time.

    Parameters
    ----------
    module
        The module with the norms.

    Yields
    ------
    None
        The averages stand still until the block is left.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, Norm) and norm.observing]
    for norm in norms:
        norm.observing = False
    try:
        yield
    finally:
        for norm in norms:
            norm.observing = True


class _AcrossProcesses(torch.autograd.Function):
    """Batch norm by the moments of all processes, and its activation.

    A process has the gradient of its own loss; summed over the processes, the gradients are those of the sum of their
    losses, which is what distributed training expects before it divides by the number of processes.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, norm: Norm) -> Tensor:
        moments = Moments.of(rows).across_processes()
        norm.observe(moments)
        inverse = (moments.variance + norm.eps).rsqrt()
        dtype = torch.promote_types(rows.dtype, weight.dtype)
        scale = (weight.double() * inverse).to(dtype)
        normal = (rows.to(dtype) - moments.mean.to(dtype)) * inverse.to(dtype)
        result = activated(normal * weight + bias, norm.slope).to(rows.dtype)
        ctx.save_for_backward(normal, scale, result)
        ctx.count, ctx.slope = moments.total, norm.slope
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normal, scale, result = ctx.saved_tensors
        passed = torch.where(result > 0, gradient, ctx.slope * gradient).to(normal.dtype)
        sums = torch.stack([passed.sum(dim=0), (passed * normal).sum(dim=0)])
        totals = (sum_across_processes(sums.double()) / ctx.count).to(normal.dtype)
        rows = scale * (passed - totals[0] - normal * totals[1])
        return rows.to(result.dtype), sums[1], sums[0], None
