"""Wigner's d functions, and the grid on which band-limited functions on rotations are summed exactly."""

import numpy as np

from csgnn_dgl.geometry.icosphere import FloatArray


def wigner_d(bandwidth: int, angles: FloatArray) -> FloatArray:
    r"""Return Wigner's d functions, how rotations by an angle about the y-axis act on spherical harmonics.

    .. math:: d^l_{mn}(\beta) = \langle l m | e^{-i \beta J_y} | l n \rangle, \quad
        D^l_{mn}(\alpha, \beta, \gamma) = e^{-i m \alpha}\, d^l_{mn}(\beta)\, e^{-i n \gamma}

    They come from the eigenvectors of J_y, whose eigenvalues are known to be -l, ..., l: no recursion loses digits.

    Parameters
    ----------
    bandwidth
        b; the degrees are l = 0, ..., b - 1.
    angles
        (A,) angles β in radians.

    Returns
    -------
    numpy.ndarray
        (b, 2b - 1, 2b - 1, A) by l, m and n, both orders from 1 - b to b - 1; zero where one is beyond ±l.
    """
    table = np.zeros((bandwidth, 2 * bandwidth - 1, 2 * bandwidth - 1, len(angles)))
    for degree in range(bandwidth):
        order = np.arange(-degree, degree + 1)
        raising = np.diag(np.sqrt(degree * (degree + 1) - order[:-1] * order[1:]), -1)
        vectors = np.linalg.eigh((raising - raising.T) / 2j)[1]
        turned = np.exp(-1j * np.multiply.outer(order, angles))
        own = slice(bandwidth - 1 - degree, bandwidth + degree)
        table[degree, own, own] = np.einsum("mk,ka,nk->mna", vectors, turned, vectors.conj()).real
    return table


def latitudes(bandwidth: int) -> tuple[FloatArray, FloatArray]:
    """Return the polar angles of the grid of bandwidth b, and the weights of their circles.

    The mean over the sphere of a function with degrees below 2b is the weighted mean over 2b equidistant points on
    each circle (Driscoll & Healy, 1994).

    Parameters
    ----------
    bandwidth
        b.

    Returns
    -------
    tuple of numpy.ndarray
        (2b,) angles π(2j + 1)/(4b), and (2b,) weights, which add up to 1.
    """
    angles = np.pi * (2 * np.arange(2 * bandwidth) + 1) / (4 * bandwidth)
    odd = 2 * np.arange(bandwidth) + 1
    weights = 2 / bandwidth * np.sin(angles) * (np.sin(np.multiply.outer(angles, odd)) / odd).sum(axis=1)
    return angles, weights / 2
