"""Atomic structures with densities of states: records, readers and sources.

Readers return :class:`Snapshots`, and :func:`load_snapshots` finds the reader for a source.
The names below are imported at first use.
"""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.data.atoms.authors import read_snapshot_folders
    from csgnn_dgl.data.atoms.carbon import carbon_snapshots
    from csgnn_dgl.data.atoms.formats.extxyz import read_snapshots
    from csgnn_dgl.data.atoms.records import VALENCES, Snapshot, Snapshots, check_elements, from_atoms
    from csgnn_dgl.data.atoms.sources import load_snapshots, read_structures
    from csgnn_dgl.data.atoms.vasp.calculation import read_vasp

__all__ = [
    "VALENCES",
    "Snapshot",
    "Snapshots",
    "carbon_snapshots",
    "check_elements",
    "from_atoms",
    "load_snapshots",
    "read_snapshot_folders",
    "read_snapshots",
    "read_structures",
    "read_vasp",
]

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "authors": "read_snapshot_folders",
        "carbon": "carbon_snapshots",
        "formats.extxyz": "read_snapshots",
        "records": "Snapshot Snapshots VALENCES check_elements from_atoms",
        "sources": "load_snapshots read_structures",
        "vasp.calculation": "read_vasp",
    },
)
