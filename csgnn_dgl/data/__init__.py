"""Data sets: point clouds, atomic structures, and how both are served.

All names of `csgnn_dgl.data.clouds` and `csgnn_dgl.data.atoms` are here too. They are imported at first use.
"""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names
from csgnn_dgl.data import atoms, clouds

if TYPE_CHECKING:
    from csgnn_dgl.data.atoms import *  # noqa: F403
    from csgnn_dgl.data.clouds import *  # noqa: F403
    from csgnn_dgl.data.loading import EpochDataset, EpochIndex, EpochSampler, collate

__all__ = ["EpochDataset", "EpochIndex", "EpochSampler", "collate"]
__all__ += atoms.__all__
__all__ += clouds.__all__

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "loading": "EpochDataset EpochIndex EpochSampler collate",
        "atoms": " ".join(atoms.__all__),
        "clouds": " ".join(clouds.__all__),
    },
)
