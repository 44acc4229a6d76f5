"""The baseline that looks at no atom: the mean DOS of each structure in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from csgnn_dgl.data import Snapshots


class StructureMean:
    """Predict for every snapshot the mean DOS per atom of the training snapshots of its structure.

    A structure that training had none of gets the mean over all training snapshots.

    Examples
    --------
    >>> StructureMean().fit(carbon_snapshots("val")).predict(carbon_snapshots("test")).shape
    (160, 310)
    """

    def __init__(self) -> None:
        self.means: dict[str, NDArray[np.float64]] = {}
        self.overall: NDArray[np.float64] | None = None

    def fit(self, snapshots: Snapshots) -> StructureMean:
        """Take the means of `snapshots`, all of which must have a DOS; return the baseline itself."""
        per_atom = snapshots.dos_per_atom
        names = np.array(snapshots.structures)
        self.means = {str(name): per_atom[names == name].mean(axis=0) for name in np.unique(names)}
        self.overall = per_atom.mean(axis=0)
        return self

    def predict(self, snapshots: Snapshots) -> NDArray[np.float64]:
        """Return (S, count) states per eV and atom of the S `snapshots`.

        Raises
        ------
        RuntimeError
            If nothing was fitted before.
        """
        if self.overall is None:
            raise RuntimeError("there are no means yet; call fit with the training snapshots first")
        return np.stack([self.means.get(name, self.overall) for name in snapshots.structures])
