"""Classifiers of point clouds: CSGNN and those that it is compared with."""

from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.models.classifiers.csgnn import CSGNN
from csgnn_dgl.models.classifiers.csgnn_mixed import MixedCSGNN
from csgnn_dgl.models.classifiers.dgcnn import DGCNN
from csgnn_dgl.models.classifiers.kpconv import KPConv
from csgnn_dgl.models.classifiers.pointnet import PointNet
from csgnn_dgl.models.classifiers.prin import PRIN
from csgnn_dgl.models.classifiers.riconv import RIConv
from csgnn_dgl.models.classifiers.rigcn import RIGCN
from csgnn_dgl.models.classifiers.sfcnn import SFCNN
from csgnn_dgl.models.classifiers.shellnet import ShellNet
from csgnn_dgl.models.classifiers.sphnet import SPHNet

__all__ = [
    "CLASSIFIERS",
    "CSGNN",
    "DGCNN",
    "PRIN",
    "RIGCN",
    "SFCNN",
    "Classifier",
    "KPConv",
    "MixedCSGNN",
    "PointNet",
    "RIConv",
    "SPHNet",
    "ShellNet",
]
