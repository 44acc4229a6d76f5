"""A moving average of the weights, which is what validates, is kept and answers."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    r"""Average weights and the running averages of norms over the steps of the optimiser.

    After step n the average a moves by :math:`a \leftarrow d\,a + (1 - d)\,w` with
    :math:`d = \min(\text{decay}, (1 + n) / (10 + n))`, so that it does not remember the first weights for long. What
    is not a floating-point number, such as the tables of the grid, is taken as it is.

    Parameters
    ----------
    decay
        Share of the average that a step keeps, at least 0 and below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=self._average)
        self.decay = decay

    def _average(self, average: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
        if not now.is_floating_point():
            return now
        steps = float(count)
        return torch.lerp(average, now, 1 - min(self.decay, (1 + steps) / (10 + steps)))
