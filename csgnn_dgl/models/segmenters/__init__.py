"""Models that say for every point of a cloud which part it lies on."""

from csgnn_dgl.models.segmenters.base import SEGMENTERS, Segmenter
from csgnn_dgl.models.segmenters.csgnn import CSGNNParts

__all__ = ["SEGMENTERS", "CSGNNParts", "Segmenter"]
