"""The energy bins on which a density of states is given."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from csgnn_dgl.errors import InputError


@dataclass(frozen=True)
class EnergyGrid:
    """Equal energy bins; bin j is [start + j·width, start + (j + 1)·width).

    A DOS on this grid is constant within each bin. The defaults are the paper's: 310 bins of 0.1 eV from -30
    to 1 eV.

    Parameters
    ----------
    start
        Lower edge of the first bin, in eV.
    width
        Width of a bin, in eV.
    count
        Number of bins.

    Raises
    ------
    InputError
        If a number is not finite, the width not positive, or there is no bin.
    """

    start: float = -30.0
    width: float = 0.1
    count: int = 310

    def __post_init__(self) -> None:
        if not math.isfinite(self.start):
            raise InputError(f"the energy grid starts at {self.start} eV; give a finite number.")
        if not (math.isfinite(self.width) and self.width > 0):
            raise InputError(f"the bins of the energy grid are {self.width} eV wide; give a positive number.")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise InputError(f"the energy grid has {self.count!r} bins; give a whole number from 1.")

    @property
    def stop(self) -> float:
        """Upper edge of the last bin, in eV."""
        return self.start + self.width * self.count

    @property
    def edges(self) -> NDArray[np.float64]:
        """(count + 1,) edges of the bins, in eV."""
        return np.asarray(self.start + self.width * np.arange(self.count + 1), dtype=np.float64)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(count,) centres of the bins, in eV."""
        return np.asarray(self.start + self.width * (np.arange(self.count) + 0.5), dtype=np.float64)


PAPER_GRID = EnergyGrid()
"""The paper's energy grid: 310 bins of 0.1 eV from -30 to 1 eV."""
