"""Data sets, readers, augmentation and rotations.

Every reader returns :class:`PointClouds` with z up; :func:`load` finds the reader for a source.
"""

from csgnn_dgl.data.augmentation import (
    ROTATION_MODES,
    Augmentation,
    Draws,
    TestRotation,
    rotate_clouds,
    scale_to_unit_ball,
)
from csgnn_dgl.data.clouds import PointClouds
from csgnn_dgl.data.dataset import CloudDataset, EpochIndex, EpochSampler, collate
from csgnn_dgl.data.download import download_modelnet40
from csgnn_dgl.data.folders import read_cloud, read_folder
from csgnn_dgl.data.modelnet import read_modelnet40
from csgnn_dgl.data.shapes import BUILTIN_CLASSES, builtin_shapes
from csgnn_dgl.data.sources import load
from csgnn_dgl.data.split import stratified_split

__all__ = [
    "BUILTIN_CLASSES",
    "ROTATION_MODES",
    "Augmentation",
    "CloudDataset",
    "Draws",
    "EpochIndex",
    "EpochSampler",
    "PointClouds",
    "TestRotation",
    "builtin_shapes",
    "collate",
    "download_modelnet40",
    "load",
    "read_cloud",
    "read_folder",
    "read_modelnet40",
    "rotate_clouds",
    "scale_to_unit_ball",
    "stratified_split",
]
