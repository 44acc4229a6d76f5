"""Labelled point clouds: records, readers, sources, augmentation and rotations.

Readers return :class:`PointClouds` with z up, and :func:`load` finds the reader for a source.
The names below are imported at first use.
"""

from typing import TYPE_CHECKING

from csgnn_dgl._lazy import lazy_names

if TYPE_CHECKING:
    from csgnn_dgl.data.clouds.augmentation import (
        ROTATION_MODES,
        Augmentation,
        Draws,
        TestRotation,
        rotate_clouds,
    )
    from csgnn_dgl.data.clouds.dataset import CloudDataset
    from csgnn_dgl.data.clouds.download import download_modelnet40
    from csgnn_dgl.data.clouds.folders import read_cloud, read_folder
    from csgnn_dgl.data.clouds.modelnet import read_modelnet40
    from csgnn_dgl.data.clouds.parts import PartClouds
    from csgnn_dgl.data.clouds.records import PointClouds
    from csgnn_dgl.data.clouds.shapes import BUILTIN_CLASSES, builtin_parts, builtin_shapes
    from csgnn_dgl.data.clouds.sources import load
    from csgnn_dgl.data.clouds.split import stratified_split
    from csgnn_dgl.data.clouds.transform import CloudTransform
    from csgnn_dgl.mapping.unit_ball import centre_clouds, scale_to_unit_ball

__all__ = [
    "BUILTIN_CLASSES",
    "ROTATION_MODES",
    "Augmentation",
    "CloudDataset",
    "CloudTransform",
    "Draws",
    "PartClouds",
    "PointClouds",
    "TestRotation",
    "builtin_parts",
    "builtin_shapes",
    "centre_clouds",
    "download_modelnet40",
    "load",
    "read_cloud",
    "read_folder",
    "read_modelnet40",
    "rotate_clouds",
    "scale_to_unit_ball",
    "stratified_split",
]

__getattr__, __dir__ = lazy_names(
    globals(),
    {
        "augmentation": "Augmentation Draws ROTATION_MODES TestRotation rotate_clouds",
        "dataset": "CloudDataset",
        "download": "download_modelnet40",
        "folders": "read_cloud read_folder",
        "modelnet": "read_modelnet40",
        "parts": "PartClouds",
        "records": "PointClouds",
        "shapes": "BUILTIN_CLASSES builtin_parts builtin_shapes",
        "sources": "load",
        "split": "stratified_split",
        "transform": "CloudTransform centre_clouds scale_to_unit_ball",
    },
)
