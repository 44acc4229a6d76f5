"""Readers of snapshots: every module here has a table ``READERS`` from lower-case suffixes to functions."""

from collections.abc import Callable, Mapping
from pathlib import Path

from csgnn_dgl.data.atoms.records import Snapshots
from csgnn_dgl.data.formats import collect_readers
from csgnn_dgl.electronic.grid import EnergyGrid

Reader = Callable[[Path, EnergyGrid, float, Mapping[str, float] | None], Snapshots]
"""From a file, the energy bins, an offset of its energies (eV) and valences to all snapshots in it, with their DOS."""

READERS: dict[str, Reader] = collect_readers(__name__, __path__)
