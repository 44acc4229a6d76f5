"""The mapping of the paper's A.6: each point acts on the two fine spheres around it."""

import numpy as np

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping.base import PointMapping, cell_diameters, check_sizes


class PrismMapping(PointMapping):
    """Add each point to the 6 vertices of its prism: its triangle on the fine spheres around it (A.6).

    With R' = R·C fine spheres, interval i is the radii i/R' to (i + 1)/R'. The innermost cells consist of the
    triangle on the first sphere and the origin, which carries no feature. The diameter d_i of interval i is
    the largest over all triangles of the level. See :class:`~csgnn_dgl.mapping.base.PointMapping` for
    the rest and the shapes.

    Parameters
    ----------
    level, num_spheres, channels, threshold
        As in :class:`~csgnn_dgl.mapping.base.PointMapping`; a threshold of 1 counts points.

    Examples
    --------
    >>> import torch
    >>> PrismMapping(level=2, num_spheres=4, channels=2)(torch.rand(5, 100, 3) / 2).shape
    torch.Size([4, 162, 5, 2])
    """

    def __init__(self, level: int, num_spheres: int, channels: int, threshold: float = 0.01) -> None:
        check_sizes(num_spheres, channels, threshold)
        sphere = icosphere(level)
        ends = sphere.vertices[sphere.edges]
        longest = float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).max())
        count = num_spheres * channels
        outer = np.arange(count)
        diameters = cell_diameters(outer / count, (outer + 1) / count, longest)
        super().__init__(level, num_spheres, channels, np.stack([outer - 1, outer]), diameters, threshold)
