"""Learning rates as plain numbers: two functions of the step, and the plateau rule with a state of three numbers.

They are kept apart from the optimiser so that a resumed run needs nothing but the step number, or those three numbers,
to go on exactly where it stopped.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

SCHEDULES = ("plateau", "one_cycle", "cosine", "constant")


def _cosine_between(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * fraction))


def one_cycle(
    step: int, total: int, peak: float, *, rise: float = 0.3, start_factor: float = 25.0, end_factor: float = 1e4
) -> tuple[float, float]:
    """Learning rate and momentum of the one-cycle policy at one optimiser step.

    The rate climbs on a half cosine from ``peak / start_factor`` to ``peak`` over the first ``rise`` of the steps and
    falls on another to ``peak / start_factor / end_factor`` at the last one; the momentum (Adam's first beta) does
    the opposite between 0.95 and 0.85.

    Parameters
    ----------
    step
        Number of the optimiser step, from 0.
    total
        Number of optimiser steps of the whole training; later steps keep the last value.
    peak
        Largest learning rate.
    rise
        Share of the steps in which the rate climbs.
    start_factor, end_factor
        Divisors that give the first and the last rate.

    Returns
    -------
    tuple of float
        The learning rate and the momentum.
    """
    first = peak / start_factor
    last = first / end_factor
    turn = rise * total - 1.0
    end = total - 1.0
    position = min(float(step), end)
    if position <= turn:
        fraction = position / turn if turn > 0 else 1.0
        return _cosine_between(first, peak, fraction), _cosine_between(0.95, 0.85, fraction)
    fraction = (position - turn) / (end - turn)
    return _cosine_between(peak, last, fraction), _cosine_between(0.85, 0.95, fraction)


def cosine(step: int, total: int, peak: float) -> float:
    """Learning rate on a half cosine from ``peak`` at step 0 to 0 after ``total`` steps."""
    return _cosine_between(peak, 0.0, min(step / max(total, 1), 1.0))


@dataclasses.dataclass
class Plateau:
    """Learning rate that falls when the validation loss no longer does.

    An epoch counts as better when its loss is below ``best * (1 - threshold)``. After more than ``patience`` epochs
    in a row that are not, the rate is multiplied by ``factor`` and the count starts again.

    Parameters
    ----------
    rate
        Learning rate now.
    factor, patience, threshold
        The rule above; a loss that is not a number is never better.
    best
        Lowest loss that counted as better so far.
    bad_epochs
        Epochs since then, or since the last fall of the rate.
    """

    rate: float
    factor: float = 0.1
    patience: int = 4
    threshold: float = 1e-3
    best: float = math.inf
    bad_epochs: int = 0

    def update(self, loss: float) -> float:
        """Take in the validation loss of one epoch and return the rate of the next."""
        if loss < self.best * (1.0 - self.threshold) or (math.isinf(self.best) and loss < self.best):
            self.best = loss
            self.bad_epochs = 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.rate *= self.factor
            self.bad_epochs = 0
        return self.rate

    def state_dict(self) -> dict[str, Any]:
        """Rate, best loss and count of bad epochs as plain numbers."""
        return {"rate": self.rate, "best": self.best, "bad_epochs": self.bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.rate = float(state["rate"])
        self.best = float(state["best"])
        self.bad_epochs = int(state["bad_epochs"])
