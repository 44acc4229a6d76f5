"""Real spherical harmonics up to degree 3 by closed formulas."""

from math import pi, sqrt

import torch
from torch import Tensor

SIZES = (1, 3, 5, 7)
"""Number of harmonics of each degree l, 2l + 1."""

NUM_HARMONICS = sum(SIZES)


def solid_harmonics(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    r"""Evaluate r^l Y_lm for l = 0 to 3 and m = -l to l, real and orthonormal on the sphere.

    All are homogeneous polynomials; on the unit sphere they are the harmonics. At the origin those of l > 0 are 0: a
    constant there, as 3z² - 1 has it in place of 2z² - x² - y², would single a direction out.

    Parameters
    ----------
    x, y, z
        Coordinates, of one shape.

    Returns
    -------
    list of torch.Tensor
        16 of that shape, by l, then by m.
    """
    xx, yy, zz = x * x, y * y, z * z
    xy, difference = x * y, xx - yy
    one, two, three = sqrt(3 / (4 * pi)), sqrt(15 / (4 * pi)), sqrt(105 / (4 * pi))
    ring = sqrt(21 / (32 * pi)) * (4 * zz - xx - yy)
    edge = sqrt(35 / (32 * pi))
    return [
        torch.full_like(x, sqrt(1 / (4 * pi))),
        one * y,
        one * z,
        one * x,
        two * xy,
        two * (y * z),
        sqrt(5 / (16 * pi)) * (2 * zz - xx - yy),
        two * (x * z),
        0.5 * two * difference,
        edge * y * (3 * xx - yy),
        three * xy * z,
        ring * y,
        sqrt(7 / (16 * pi)) * z * (2 * zz - 3 * xx - 3 * yy),
        ring * x,
        0.5 * three * difference * z,
        edge * x * (xx - 3 * yy),
    ]
