"""The models of the paper."""

from csgnn_dgl.models.csgnn import CSGNN

__all__ = ["CSGNN"]
