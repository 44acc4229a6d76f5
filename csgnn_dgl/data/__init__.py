"""Data sets, readers, augmentation and rotations.

Readers of shapes return :class:`PointClouds` with z up, and :func:`load` finds the reader for a source. Readers of
atomic structures return :class:`Snapshots`, and :func:`load_snapshots` finds theirs. The names
below are imported at first use.
"""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.data.augmentation import (
        ROTATION_MODES,
        Augmentation,
        Draws,
        TestRotation,
        rotate_clouds,
        scale_to_unit_ball,
    )
    from csgnn_dgl.data.carbon import carbon_snapshots
    from csgnn_dgl.data.clouds import PointClouds
    from csgnn_dgl.data.dataset import CloudDataset, EpochIndex, EpochSampler, collate
    from csgnn_dgl.data.download import download_modelnet40
    from csgnn_dgl.data.folders import read_cloud, read_folder
    from csgnn_dgl.data.modelnet import read_modelnet40
    from csgnn_dgl.data.shapes import BUILTIN_CLASSES, builtin_shapes
    from csgnn_dgl.data.snapshot_files import read_snapshots
    from csgnn_dgl.data.snapshot_sources import load_snapshots
    from csgnn_dgl.data.snapshots import VALENCES, Snapshot, Snapshots, check_elements, from_atoms
    from csgnn_dgl.data.sources import load
    from csgnn_dgl.data.split import stratified_split
    from csgnn_dgl.data.vasp import read_snapshot_folders, read_vasp

__all__ = [
    "BUILTIN_CLASSES",
    "ROTATION_MODES",
    "VALENCES",
    "Augmentation",
    "CloudDataset",
    "Draws",
    "EpochIndex",
    "EpochSampler",
    "PointClouds",
    "Snapshot",
    "Snapshots",
    "TestRotation",
    "builtin_shapes",
    "carbon_snapshots",
    "check_elements",
    "collate",
    "download_modelnet40",
    "from_atoms",
    "load",
    "load_snapshots",
    "read_cloud",
    "read_folder",
    "read_modelnet40",
    "read_snapshot_folders",
    "read_snapshots",
    "read_vasp",
    "rotate_clouds",
    "scale_to_unit_ball",
    "stratified_split",
]

_MODULE_OF = {
    "ROTATION_MODES": "augmentation",
    "Augmentation": "augmentation",
    "Draws": "augmentation",
    "TestRotation": "augmentation",
    "rotate_clouds": "augmentation",
    "scale_to_unit_ball": "augmentation",
    "carbon_snapshots": "carbon",
    "PointClouds": "clouds",
    "CloudDataset": "dataset",
    "EpochIndex": "dataset",
    "EpochSampler": "dataset",
    "collate": "dataset",
    "download_modelnet40": "download",
    "read_cloud": "folders",
    "read_folder": "folders",
    "read_modelnet40": "modelnet",
    "BUILTIN_CLASSES": "shapes",
    "builtin_shapes": "shapes",
    "read_snapshots": "snapshot_files",
    "load_snapshots": "snapshot_sources",
    "VALENCES": "snapshots",
    "Snapshot": "snapshots",
    "Snapshots": "snapshots",
    "check_elements": "snapshots",
    "from_atoms": "snapshots",
    "load": "sources",
    "stratified_split": "split",
    "read_snapshot_folders": "vasp",
    "read_vasp": "vasp",
}

__getattr__, __dir__ = lazy_names(globals(), _MODULE_OF)
