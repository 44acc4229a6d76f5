"""The mapping of the authors' published code: each point acts on all fine spheres of its shell."""

import numpy as np

from csgnn_dgl.geometry import icosphere
from csgnn_dgl.mapping.base import PointMapping, cell_diameters, check_sizes


class ShellMapping(PointMapping):
    """Add each point to the 3·C vertices of its triangle on all C fine spheres of its shell.

    Interval i is the shell of radii i/R to (i + 1)/R, and its cells carry vertices on the fine spheres i·C to
    i·C + C - 1, counted from 0, at the radii (i·C + 1)/R' to (i·C + C)/R' with R' = R·C. The diameter d_i is
    that of the one cell over face 0 of the icosphere, between the spheres i/R and (i + 1)/R; the innermost is
    the triangle and the origin. See :class:`~csgnn_dgl.mapping.base.PointMapping` for
    the rest and the shapes.

    Parameters
    ----------
    level, num_spheres, channels, threshold
        As in :class:`~csgnn_dgl.mapping.base.PointMapping`; a threshold of 1 counts points.

    Examples
    --------
    >>> import torch
    >>> ShellMapping(level=2, num_spheres=4, channels=2)(torch.rand(5, 100, 3) / 2).shape
    torch.Size([4, 162, 5, 2])
    """

    def __init__(self, level: int, num_spheres: int, channels: int, threshold: float = 0.01) -> None:
        check_sizes(num_spheres, channels, threshold)
        sphere = icosphere(level)
        corners = sphere.vertices[sphere.faces[0]]
        longest = float(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).max())
        shell = np.arange(num_spheres)
        diameters = cell_diameters(shell / num_spheres, (shell + 1) / num_spheres, longest)
        spheres = shell * channels + np.arange(channels)[:, None]
        super().__init__(level, num_spheres, channels, spheres, diameters, threshold)
