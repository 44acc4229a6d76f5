"""What models of the parts of point clouds share."""

from __future__ import annotations

from csgnn_dgl.errors import check_counts
from csgnn_dgl.models.base import Model, Registry

SEGMENTERS: Registry[Segmenter] = Registry("segmentation", "model of parts", "csgnn_dgl.models.segmenters")
"""The models of the parts of point clouds by their names on the command line and in checkpoints."""


class Segmenter(Model):
    """A model of parts: a call maps points (B, N, 3) to logits (B, N, num_parts).

    An ``nn.Module`` from elsewhere with the same call, whose constructor takes `num_parts`, is one too.

    Parameters
    ----------
    num_parts
        Number of logits of each point: the parts of all classes of shapes.
    """

    registry = SEGMENTERS

    def __init__(self, num_parts: int = 40) -> None:
        super().__init__()
        check_counts(num_parts=num_parts)
        self.num_parts = num_parts
