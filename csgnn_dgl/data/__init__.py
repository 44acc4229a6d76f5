"""Data sets: point clouds, atomic structures, and how both are served.

The names below are imported at first use.
"""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.data.atoms import (
        VALENCES,
        Snapshot,
        Snapshots,
        carbon_snapshots,
        check_elements,
        from_atoms,
        load_snapshots,
        read_snapshot_folders,
        read_snapshots,
        read_vasp,
    )
    from csgnn_dgl.data.clouds import (
        BUILTIN_CLASSES,
        ROTATION_MODES,
        Augmentation,
        CloudDataset,
        CloudTransform,
        Draws,
        PointClouds,
        TestRotation,
        builtin_shapes,
        centre_clouds,
        download_modelnet40,
        load,
        read_cloud,
        read_folder,
        read_modelnet40,
        rotate_clouds,
        scale_to_unit_ball,
        stratified_split,
    )
    from csgnn_dgl.data.loading import EpochIndex, EpochSampler, collate

__all__ = [
    "BUILTIN_CLASSES",
    "ROTATION_MODES",
    "VALENCES",
    "Augmentation",
    "CloudDataset",
    "CloudTransform",
    "Draws",
    "EpochIndex",
    "EpochSampler",
    "PointClouds",
    "Snapshot",
    "Snapshots",
    "TestRotation",
    "builtin_shapes",
    "carbon_snapshots",
    "centre_clouds",
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
    "Snapshot": "atoms",
    "Snapshots": "atoms",
    "VALENCES": "atoms",
    "carbon_snapshots": "atoms",
    "check_elements": "atoms",
    "from_atoms": "atoms",
    "load_snapshots": "atoms",
    "read_snapshot_folders": "atoms",
    "read_snapshots": "atoms",
    "read_vasp": "atoms",
    "Augmentation": "clouds",
    "BUILTIN_CLASSES": "clouds",
    "CloudTransform": "clouds",
    "CloudDataset": "clouds",
    "Draws": "clouds",
    "PointClouds": "clouds",
    "ROTATION_MODES": "clouds",
    "TestRotation": "clouds",
    "builtin_shapes": "clouds",
    "centre_clouds": "clouds",
    "download_modelnet40": "clouds",
    "load": "clouds",
    "read_cloud": "clouds",
    "read_folder": "clouds",
    "read_modelnet40": "clouds",
    "rotate_clouds": "clouds",
    "scale_to_unit_ball": "clouds",
    "stratified_split": "clouds",
    "EpochIndex": "loading",
    "EpochSampler": "loading",
    "collate": "loading",
}

__getattr__, __dir__ = lazy_names(globals(), _MODULE_OF)
