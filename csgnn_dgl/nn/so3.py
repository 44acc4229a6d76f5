"""Convolutions of functions on the sphere and on rotations, with taps around the equator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from csgnn_dgl.errors import check_counts
from csgnn_dgl.geometry.wigner import latitudes, wigner_d
from csgnn_dgl.mapping.tables import TableModule


class SO3Fourier(TableModule):
    r"""Fourier transforms of real functions on rotations, R = Z(α) Y(β) Z(γ), and on the sphere.

    .. math::
        f(\alpha, \beta, \gamma) = \sum_{l<b} (2l+1) \sum_{m,n=-l}^{l}
            \hat f^l_{mn}\, d^l_{mn}(\beta)\, e^{i(m\alpha + n\gamma)}, \quad
        \hat f^l_{mn} = \sum_j w_j\, d^l_{mn}(\beta_j)\, \frac{1}{4b^2} \sum_{\alpha,\gamma}
            f(\alpha, \beta_j, \gamma)\, e^{-i(m\alpha + n\gamma)}

    on the grid of 2b angles each, β_j = π(2j + 1)/(4b), α and γ = πk/b: one is the inverse of the other for functions
    with degrees below b (Kostelec & Rockmore, 2008). A function on the sphere is one that does not depend on γ, and
    has n = 0 only. Of real functions the coefficients with m ≥ 0 tell all.

    The sums over α, γ and β are matrix products one after the other, between neighbouring axes in memory: at b = 8 on
    a CPU twice as fast as a fast Fourier transform with the transpositions that it needs. Coefficients with
    l < max(\|m\|, \|n\|) are kept as zeros.

    Parameters
    ----------
    bandwidth
        b.

    Shapes
    ------
    - signals: (2b, 2b, 2b, B, C) by β, α and γ, on the sphere (2b, 2b, B, C), with any B and C.
    - coefficients: by n, real and imaginary part, m and l, (2b - 1, 2, b, b, B, C); n from 1 - b up. On the sphere
      (1, 2, b, b, B, C).
    """

    along_alpha: Tensor
    along_gamma: Tensor
    along_beta: Tensor
    back_beta: Tensor
    back_gamma: Tensor
    back_alpha: Tensor
    quarter: Tensor

    def __init__(self, bandwidth: int) -> None:
        super().__init__()
        check_counts(2, bandwidth=bandwidth)
        self.bandwidth = bandwidth
        size = 2 * bandwidth
        orders = np.arange(1 - bandwidth, bandwidth)
        turns = np.exp(1j * np.pi / bandwidth * np.multiply.outer(orders, np.arange(size)))
        half = turns[bandwidth - 1 :]
        # (m, re or im) from α
        self.add_table("along_alpha", as_rows(half.conj() / size).reshape(size, size))
        # (n, re or im) from (re or im, γ): multiplication by e^{-inγ}
        self.add_table("along_gamma", as_products(turns.conj() / size).reshape(2 * len(orders), 2 * size))
        # (re or im, γ) from (n, re or im): multiplication by e^{inγ}
        self.add_table("back_gamma", as_products(turns).transpose(1, 3, 0, 2).reshape(2 * size, 2 * len(orders)))
        # α from (m, re or im): twice the real part, for m and -m
        both = np.where(np.arange(bandwidth) == 0, 1.0, 2.0)[:, None]
        self.add_table("back_alpha", as_rows(half.conj() * both).reshape(size, size).T)
        angles, weights = latitudes(bandwidth)
        table = wigner_d(bandwidth, angles)[:, bandwidth - 1 :]  # (l, m, n, β)
        degrees = 2 * np.arange(bandwidth) + 1
        self.add_table("along_beta", (table * weights).transpose(1, 2, 0, 3))
        self.add_table("back_beta", (table * degrees[:, None, None, None]).transpose(2, 1, 3, 0))
        # (l, n, p): a rotation about the y-axis by π/2
        self.add_table("quarter", wigner_d(bandwidth, np.array([np.pi / 2]))[..., 0])

    def analyse(self, signal: Tensor) -> Tensor:
        """Return the coefficients (m, n, l, re or im, B, C) of signals on rotations (β, α, γ, B, C).

        Their order is not that of the class: it is the one that they come in.
        """
        b, size = self.bandwidth, 2 * self.bandwidth
        columns = signal.shape[-2] * signal.shape[-1]
        values = times(self.along_alpha, signal.reshape(size, size, size * columns))
        values = times(self.along_gamma, values.view(size * b, 2 * size, columns))
        values = values.view(size, b * (size - 1), 2 * columns).transpose(0, 1)
        values = torch.bmm(self.along_beta.to(values.dtype).flatten(0, 1), values)
        return values.view(b, size - 1, b, 2, *signal.shape[-2:])

    def analyse_sphere(self, signal: Tensor) -> Tensor:
        """Return the coefficients (1, re or im, m, l, B, C) of signals on the sphere (β, α, B, C)."""
        b, size = self.bandwidth, 2 * self.bandwidth
        columns = signal.shape[-2] * signal.shape[-1]
        values = times(self.along_alpha, signal.reshape(size, size, columns))
        values = values.view(size, b, 2 * columns).transpose(0, 1)
        values = torch.bmm(self.along_beta[:, b - 1].to(values.dtype), values)
        return values.view(1, b, b, 2, *signal.shape[-2:]).permute(0, 3, 1, 2, 4, 5)

    def turn(self, coefficients: Tensor) -> Tensor:
        """Turn functions by Y(π/2) from the right, f(R) → f(R Y(π/2)): coefficients as of `analyse` to the class's."""
        quarter = self.quarter.to(coefficients.dtype)
        parts = []
        for degree, part in enumerate(coefficients.flatten(3).unbind(2)):
            turned = times(quarter[degree], part).unflatten(-1, coefficients.shape[3:])
            parts.append(turned.permute(1, 2, 0, 3, 4))
        return torch.stack(parts, dim=3)

    def turn_sphere(self, coefficients: Tensor) -> Tensor:
        """Turn functions on the sphere likewise, which makes them functions on rotations."""
        quarter = self.quarter[:, :, self.bandwidth - 1].to(coefficients.dtype).t()
        return coefficients * quarter[:, None, None, :, None, None]

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """Return the signals (β, α, γ, B, C) with these coefficients (n, re or im, m, l, B, C)."""
        b, size = self.bandwidth, 2 * self.bandwidth
        columns = coefficients.shape[-2] * coefficients.shape[-1]
        values = self.back_beta.to(coefficients.dtype)[:, None] @ coefficients.flatten(4)
        values = values.permute(3, 2, 0, 1, 4).reshape(size * b, 2 * (size - 1), columns)
        values = times(self.back_gamma, values)
        values = times(self.back_alpha, values.view(size, size, size * columns))
        return values.view(size, size, size, *coefficients.shape[-2:])


class EquatorialConvolution(nn.Module):
    r"""Convolution with T taps around the equator, a function on rotations.

    .. math:: z_f(R) = b_f + s \sum_{c,t} k_{tcf}\, x_c\big(R\, Z(\tfrac{2\pi t}{T})\, Y(\tfrac{\pi}{2})\big), \quad
        s = \frac{1}{\sqrt{T C}}

    at the rotations R of the grid, where x is the band-limited function that has the given values there. Both sides
    turn with the input, exactly: z is no signal of the grid but a function.

    In terms of coefficients :math:`\hat z^l_{mn} = \sum_{c,p} \hat x^l_{mp} \overline{\hat k^l_{np}}` with
    :math:`\hat k^l_{np} = \sum_t k_t\, e^{-2\pi i n t / T}\, d^l_{np}(\tfrac{\pi}{2})`, (2l + 1)² matrices between
    channels for each degree. These factors are used apart: first every channel is turned by π/2, then the channels
    are mixed by a matrix for each order n, the same for all degrees. This takes Σ (2l + 1)² products for each pair of
    channels instead of Σ (2l + 1)³.

    Parameters
    ----------
    in_channels, out_channels
        Channels C and F.
    num_taps
        T; no more than 2b make a difference.
    fourier
        The transforms of the grid. Layers may share them.

    Attributes
    ----------
    weight
        k, (T, C, F), drawn uniformly from [-1, 1].
    bias
        b, (F,).
    """

    def __init__(self, in_channels: int, out_channels: int, num_taps: int, fourier: SO3Fourier) -> None:
        super().__init__()
        check_counts(in_channels=in_channels, out_channels=out_channels, num_taps=num_taps)
        self.fourier = fourier
        self.weight = nn.Parameter(torch.empty(num_taps, in_channels, out_channels).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def mix(self, coefficients: Tensor) -> Tensor:
        """Mix the channels of coefficients (n, re or im, m, l, B, C), or of (1, ...) for all orders n alike."""
        b = self.fourier.bandwidth
        taps, channels, _ = self.weight.shape
        orders = torch.arange(1 - b, b, device=self.weight.device, dtype=torch.float64)
        angles = orders[:, None] * torch.arange(taps, device=orders.device) * (2 * torch.pi / taps)
        waves = torch.stack([angles.cos(), angles.sin()], dim=1).to(self.weight.dtype) / (taps * channels) ** 0.5
        kernels = torch.einsum("nit,tcf->ncif", waves, self.weight)
        rows = coefficients.flatten(1, 4).expand(2 * b - 1, -1, -1)
        products = torch.bmm(rows, kernels.flatten(2)).unflatten(1, (2, -1)).unflatten(-1, kernels.shape[2:])
        re_cos, re_sin, im_cos, im_sin = products.permute(1, 3, 0, 2, 4).flatten(0, 1)
        return torch.stack([re_cos - im_sin, re_sin + im_cos], dim=1).unflatten(2, coefficients.shape[2:5])

    def finish(self, coefficients: Tensor) -> Tensor:
        """Add the bias, as the coefficient of a constant, and return the signal."""
        coefficients[self.fourier.bandwidth - 1, 0, 0, 0] += self.bias
        return self.fourier.synthesise(coefficients)

    def extra_repr(self) -> str:
        """Describe the layer in its printed form."""
        taps, inner, outer = self.weight.shape
        return f"{inner}, {outer}, num_taps={taps}, bandwidth={self.fourier.bandwidth}"


class S2Convolution(EquatorialConvolution):
    """Convolution of functions on the sphere, x(R) = x(R e_z); see :class:`EquatorialConvolution`.

    Shapes
    ------
    - signal: (2b, 2b, B, C) by β and α; output: (2b, 2b, 2b, B, F) by β, α and γ.
    """

    def forward(self, signal: Tensor) -> Tensor:
        """Convolve; see the class."""
        mixed = self.mix(self.fourier.analyse_sphere(signal))
        return self.finish(self.fourier.turn_sphere(mixed))


class SO3Convolution(EquatorialConvolution):
    """Convolution of functions on rotations; see :class:`EquatorialConvolution`.

    Shapes
    ------
    - signal: (2b, 2b, 2b, B, C) by β, α and γ; output: (2b, 2b, 2b, B, F).
    """

    def forward(self, signal: Tensor) -> Tensor:
        """Convolve; see the class."""
        return self.finish(self.mix(self.fourier.turn(self.fourier.analyse(signal))))


def times(matrix: Tensor, values: Tensor) -> Tensor:
    """Multiply every matrix of values (K, J, N) by the same one from the left."""
    return torch.bmm(matrix.to(values.dtype).expand(len(values), -1, -1), values)


def as_rows(numbers: np.ndarray) -> np.ndarray:
    """Split (N, K) complex numbers into real and imaginary parts (N, 2, K)."""
    return np.stack([numbers.real, numbers.imag], axis=1)


def as_products(numbers: np.ndarray) -> np.ndarray:
    """Return the real matrices (N, 2, 2, K) from (re, im) to (re, im) that multiply by (N, K) complex numbers."""
    return np.stack([as_rows(numbers), as_rows(1j * numbers)], axis=2)
