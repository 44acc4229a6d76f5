"""Where clouds lie and how large they are: the one centring and the one scaling of the package."""

import math

import torch
from torch import Tensor

from csgnn_dgl._compilers import traced


def check_clouds(points: Tensor) -> None:
    """Raise ValueError unless there are clouds of points."""
    if points.dim() != 3 or points.shape[-1] != 3 or points.shape[1] == 0:
        raise ValueError(f"points of shape (B, N, 3) with N > 0 expected, got {tuple(points.shape)}")


def centre_clouds(points: Tensor) -> Tensor:
    """Move the mean of each cloud's points to the origin, x -> x - mean(x).

    Parameters
    ----------
    points
        (B, N, 3) positions, any unit of length.

    Returns
    -------
    torch.Tensor
        (B, N, 3) float64: far from the origin, float32 would lose the shape.
    """
    points = points.double()
    return points - points.mean(dim=1, keepdim=True)


def scale_to_unit_ball(points: Tensor) -> Tensor:
    """Divide each cloud by its largest norm, x -> x / max ‖x‖. It is not centred.

    Parameters
    ----------
    points
        (B, N, 3) positions, any unit of length.

    Returns
    -------
    torch.Tensor
        (B, N, 3), the largest norm of each cloud being 1; float64 for float64, else float32.

    Raises
    ------
    ValueError
        If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
    """
    check_clouds(points)
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    x, y, z = points.unbind(-1)
    largest = (x * x + y * y + z * z).amax(dim=-1).sqrt()
    bad = ~(torch.isfinite(largest) & (largest > 0))
    if traced():
        torch._assert_async(~bad.any(), "a cloud has all points at the origin, or coordinates that are not finite")
    elif bad.any():
        index = int(bad.nonzero()[0])
        value = float(points[index].detach().abs().max())
        if value == 0:
            fault = "all points at the origin"
        elif not math.isfinite(value):
            fault = "a coordinate that is NaN or infinite"
        else:
            size = "large" if value > 1 else "small"
            fault = f"a largest coordinate of {value:.3g}, too {size} to be squared in {points.dtype}"
        raise ValueError(f"cloud {index} of the batch has {fault}; remove it or mend its points")
    return points / largest[:, None, None]
