"""Classifiers of point clouds: CSGNN and those that it is compared with."""

from csgnn_dgl.models.classifiers.csgnn import CSGNN

__all__ = ["CSGNN"]
