"""What the two mappings of point clouds share: Eq. 1 of the paper, cut off at the cell of each point."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csgnn_dgl._compilers import traced
from csgnn_dgl.errors import check_counts
from csgnn_dgl.mapping.location import ROUNDING, TriangleLocator
from csgnn_dgl.mapping.tables import TableModule


class PointMapping(TableModule):
    r"""Map point clouds to features on the concentric grid (Eq. 1 and A.6 of the paper).

    The ball is cut into cells, each a triangle of the icosphere times an interval of radii. Every point adds
    :math:`\phi(d) = \exp(-\gamma_i d^2)` to the vertices of its cell, where d is the distance to the vertex,
    :math:`\gamma_i = -\log(T) / d_i^2`, and :math:`d_i` is a diameter of cells of the i-th interval. The
    subclasses say what the intervals are, of which cells the diameter is, and on which fine spheres a cell has
    vertices; these need not bound it.

    There are R' = R·C fine spheres at the radii 1/R', 2/R', ..., 1. Fine spheres i·C to i·C + C - 1, counted
    from 0, become the C channels of sphere i, inner to outer.

    A point on an edge or vertex lies in several triangles, which share its weight equally. A point on a
    boundary of two intervals belongs to the outer one, a point at radius 1 to the outermost. A point at the
    centre lies in all F triangles, so each vertex gets valence / F times the kernel. "On" means closer than
    rounding can move a point (:data:`~csgnn_dgl.mapping.location.ROUNDING`: 1e-6 in float32, 1e-12 in float64).
    The features of a cloud rotated by one of the 60 icosahedral rotations are then the permuted features of the
    cloud.

    Points may carry further numbers f, such as a colour or an intensity: each is mapped like the 1 that Eq. 1 counts
    of every point, so that the vertices get the sums of φ(d) f in C more channels.

    The features are differentiable with respect to the points, the choice of cell being constant; they jump where
    a point crosses from one cell to the next. They are the same bits in every run on a CPU; on CUDA the order of
    the sums is not, unless ``torch.use_deterministic_algorithms(True)`` is on.

    Parameters
    ----------
    level
        Level l of the icosphere, with V = 10·4^l + 2 vertices.
    num_spheres
        Number of spheres R of the grid.
    channels
        Number of channels C, the fine spheres per sphere.
    spheres
        (K, M) for each of the M equal intervals of the radii 0 to 1 the K fine spheres, counted from 0, that
        carry vertices of its cells; -1 for none.
    diameters
        (M,) the diameters d_i.
    threshold
        The kernel's value T at the distance d_i, in (0, 1].

    Shapes
    ------
    - Input: points (B, N, 3) within the unit ball; perhaps numbers that they carry (B, N, K).
    - Output: features (R, V, B, C), contiguous; float64 for float64 points, else float32, also under autocast. With K
      numbers (R, V, B, C·(1 + K)): first the channels of Eq. 1, then the C of each number.
    """

    cell_spheres: Tensor
    cell_gamma: Tensor

    def __init__(
        self,
        level: int,
        num_spheres: int,
        channels: int,
        spheres: NDArray[np.int64],
        diameters: NDArray[np.float64],
        threshold: float,
    ) -> None:
        super().__init__()
        self.num_spheres = int(num_spheres)
        self.channels = int(channels)
        self.threshold = float(threshold)
        self.locator = TriangleLocator(level)
        self.num_vertices = len(self.locator.vertices)
        self.num_cells = len(diameters)
        self.has_gaps = bool((spheres < 0).any())
        self.central_spheres = [int(sphere) for sphere in spheres[:, 0] if sphere >= 0]
        self.central_gamma = float(-math.log(threshold) / diameters[0] ** 2)
        self.add_table("cell_spheres", spheres)
        self.add_table("cell_gamma", -math.log(threshold) / diameters**2)

    @property
    def level(self) -> int:
        """Level of the icosphere."""
        return self.locator.level

    def forward(self, points: Tensor, carried: Tensor | None = None) -> Tensor:
        """Map `points` (B, N, 3), and what they carry (B, N, K), to features (R, V, B, C·(1 + K)).

        Raises
        ------
        TypeError
            If `points` is not a tensor of floating-point numbers.
        ValueError
            If a shape is not (B, N, 3) with B and N of at least 1, or (B, N, K), if a number is not finite, or if a
            point lies outside the unit ball (by more than 1e-4, or 1e-2 for half-precision points).
        """
        _check_form(points)
        dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
        slack = 1e-2 if torch.finfo(points.dtype).eps > 1e-4 else 1e-4
        with torch.autocast(points.device.type, enabled=False):
            clouds = points.to(dtype)
            if carried is None:
                return self._map(clouds, slack, None)
            _check_carried(carried, points)
            ones = clouds.new_ones(*clouds.shape[:2], 1)
            return self._map(clouds, slack, torch.cat([ones, carried.to(dtype)], dim=2))

    def extra_repr(self) -> str:
        """Show the arguments in ``print(module)``."""
        sizes = f"level={self.level}, num_spheres={self.num_spheres}, channels={self.channels}"
        return f"{sizes}, threshold={self.threshold}"

    def _map(self, clouds: Tensor, slack: float, carried: Tensor | None) -> Tensor:
        """Map clouds (B, N, 3) and what they carry (B, N, 1 + K), the first of which is 1; None carries that alone."""
        batch, number, _ = clouds.shape
        channels = self.channels * (1 if carried is None else carried.shape[2])
        points = clouds.reshape(-1, 3).t().contiguous()
        norms = _norms(points.detach())
        if traced():
            # All steps are recorded, needed or not. The check comes when they run; where it was left out, as in ONNX,
            # the features are not numbers.
            inside = norms.amax(dim=0) <= 1 + slack
            torch._assert_async(inside, "points must be finite and lie in the unit ball")
        else:
            smallest, largest = torch.stack(norms.aminmax()).tolist()
            if not largest <= 1 + slack:
                _explain_bad_points(clouds)

        flat = _zeros(self.num_spheres * self.num_vertices * batch * channels, points)
        loads = None if carried is None else carried.reshape(-1, carried.shape[2]).t().contiguous()
        sample = torch.arange(batch, device=points.device).repeat_interleave(number)
        if traced() or smallest <= ROUNDING[points.dtype]:
            central = norms <= ROUNDING[points.dtype]
            self._add_central(flat, torch.where(central, points, 0), central, loads, batch)
            others = (~central).nonzero().squeeze(1)
            points, sample = points[:, others], sample[others]
            loads = None if loads is None else loads[:, others]

        norms = _norms(points)
        located = self.locator(points.detach(), norms.detach())
        weight = None
        if traced() or len(located.tied):
            share = located.share.to(points.dtype)
            weight = torch.ones_like(sample, dtype=share.dtype).index_copy_(0, located.tied, share)
            again, part = located.tied[located.other], share[located.other]
            load = None if loads is None else loads[:, again]
            self._add(flat, points[:, again], norms[again], sample[again], located.other_face, part, load, batch)
        self._add(flat, points, norms, sample, located.face, weight, loads, batch)
        if traced():
            flat = torch.where(inside, flat, torch.nan)
        return flat.view(self.num_spheres, self.num_vertices, batch, channels)

    def _add(
        self,
        flat: Tensor,
        points: Tensor,
        norms: Tensor,
        sample: Tensor,
        face: Tensor,
        weight: Tensor | None,
        loads: Tensor | None,
        batch: int,
    ) -> None:
        """Add `points` (3, P), times `weight` (P,) and `loads` (1 + K, P), to the vertices of their cells."""
        dtype, scale = points.dtype, self.num_cells
        channels = self.channels * (1 if loads is None else len(loads))
        # Adding the tolerance moves the points on a sphere, and only those, to the cell outside it.
        cell = (norms.detach() * scale + scale * ROUNDING[dtype]).long().clamp_(max=scale - 1)
        sphere = self.cell_spheres.clamp(min=0)
        row = self.num_vertices * batch * channels
        offset = (sphere // self.channels * row + sphere % self.channels).index_select(1, cell)
        radii = (self.cell_spheres + 1).to(dtype) / (self.num_spheres * self.channels)
        radius = radii.index_select(1, cell)
        gamma = self.cell_gamma.to(dtype).index_select(0, cell)

        # |p - ρv|² = (|p| - ρ)² + ρ |p| |p/|p| - v|² for a unit vector v, without cancellation.
        corners = self.locator.faces.t().index_select(1, face)
        vertices = self.locator.vertices.to(dtype).t().contiguous()
        positions = vertices.index_select(1, corners.view(-1)).view(3, 3, -1)
        chord = ((points / norms)[:, None] - positions).square().sum(dim=0)
        exponent = (gamma * (norms - radius).square())[:, None] + (gamma * norms * radius)[:, None] * chord
        values = torch.exp(-exponent)
        if self.has_gaps:
            values = values * (self.cell_spheres >= 0).to(dtype).index_select(1, cell)[:, None]
        if weight is not None:
            values = values * weight
        index = offset[:, None] + (corners * (batch * channels) + sample * channels)
        for place, load in enumerate([None] if loads is None else loads):
            own = values if load is None else values * load
            flat.index_add_(0, (index + place * self.channels).reshape(-1), own.reshape(-1))

    def _add_central(self, flat: Tensor, points: Tensor, central: Tensor, loads: Tensor | None, batch: int) -> None:
        """Add the points at the centre to every vertex of the innermost cells.

        They are at most the rounding tolerance away from the origin, so that the kernel's expansion to first
        order, φ(ρv - p) = φ(ρ) (1 + 2γρ v·p), has no larger error than the exact formula, and the exact
        gradient.
        """
        dtype = points.dtype
        vertices = self.locator.vertices.to(dtype)
        share = (self.locator.fans >= 0).sum(dim=1).to(dtype) / len(self.locator.faces)
        features = flat.view(self.num_spheres, self.num_vertices, batch, -1)
        gamma = self.central_gamma
        for place, load in enumerate([central.to(dtype)] if loads is None else loads * central):
            count = load.view(batch, -1).sum(dim=1)
            total = (points * load).view(3, batch, -1).sum(dim=2)
            along = (vertices[:, :, None] * total).sum(dim=1)
            for sphere in self.central_spheres:
                radius = (sphere + 1) / (self.num_spheres * self.channels)
                kernel = math.exp(-gamma * radius**2)
                values = share[:, None] * kernel * (count + 2 * gamma * radius * along)
                channel = place * self.channels + sphere % self.channels
                features[sphere // self.channels, :, :, channel] += values


def check_sizes(num_spheres: int, channels: int, threshold: float) -> None:
    """Raise ValueError unless the arguments of a mapping are usable."""
    check_counts(num_spheres=num_spheres, channels=channels)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie in (0, 1], not {threshold!r}")


def cell_diameters(inner: NDArray[np.float64], outer: NDArray[np.float64], chord: float) -> NDArray[np.float64]:
    """Return the largest distances (M,) between vertices of the cells between spheres of two radii (M,) (A.6).

    That is the largest of the outer triangle's edge, the distance of two different corners across the cell, and the
    distance of the spheres. Cells that begin at the origin have inner radius 0; `chord` is the longest edge of the
    cells' triangles on the unit sphere.
    """
    across = (outer - inner) ** 2 + inner * outer * chord**2
    return np.asarray(np.maximum(outer * chord, np.sqrt(across)))


def _check_form(points: Tensor) -> None:
    if not isinstance(points, Tensor) or not points.is_floating_point():
        kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
        raise TypeError(f"points must be a tensor of floating-point numbers, not {kind}")
    if points.dim() != 3 or points.shape[2] != 3 or 0 in points.shape:
        shape = tuple(points.shape)
        raise ValueError(f"points must have the shape (clouds, points, 3) with at least one of each, not {shape}")


def _check_carried(carried: Tensor, points: Tensor) -> None:
    if carried.dim() != 3 or carried.shape[:2] != points.shape[:2]:
        raise ValueError(
            f"what the points carry has the shape {tuple(carried.shape)}; give (clouds, points, numbers) for points "
            f"{tuple(points.shape)}"
        )
    finite = carried.isfinite().all()
    if traced():
        torch._assert_async(finite, "what the points carry must be finite")
    elif not finite:
        raise ValueError("the points carry a number that is not finite; remove or mend it")


def _explain_bad_points(points: Tensor) -> None:
    finite = points.isfinite().flatten(1).all(dim=1)
    if not bool(finite.all()):
        cloud = int(finite.logical_not().nonzero()[0])
        raise ValueError(f"cloud {cloud} of the batch has coordinates that are not finite; remove those points")
    reach = points.double().square().sum(dim=2).sqrt().amax(dim=1)
    cloud = int(reach.argmax())
    raise ValueError(
        f"points must lie in the unit ball, but cloud {cloud} of the batch reaches the norm "
        f"{float(reach[cloud]):.6g}; divide each cloud by its largest norm"
    )


def _norms(points: Tensor) -> Tensor:
    """Return the norms (P,) of points (3, P)."""
    x, y, z = points.unbind()
    return (x * x + y * y + z * z).sqrt()


def _zeros(size: int, like: Tensor) -> Tensor:
    """Return zeros with the dtype and device of `like`.

    NumPy asks Linux for huge pages, torch does not: for the tens of megabytes of a batch this saves most of
    the time.
    """
    if like.device.type != "cpu" or traced():
        return torch.zeros(size, dtype=like.dtype, device=like.device)
    memory = np.empty(size, dtype=np.float64 if like.dtype == torch.float64 else np.float32)
    return torch.from_numpy(memory).zero_()
