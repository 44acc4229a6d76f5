"""Classifiers written by hand, good and bad: functions from points (B, N, 3) to logits (B, 13)."""

import torch
from torch import Tensor, nn

WEIGHT = torch.randn(9, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def moments(points: Tensor) -> Tensor:
    """Second moments of the coordinates of each cloud, (B, 9), whatever the order of its points."""
    points = points.double()
    return (points.transpose(1, 2) @ points / points.shape[1]).flatten(1)


def honest(points: Tensor) -> Tensor:
    """A function of the cloud alone."""
    return moments(points) @ WEIGHT


def attending(points: Tensor) -> Tensor:
    """Attends across the batch: its answers lean towards those to similar clouds around."""
    logits = honest(points)
    return torch.softmax(logits @ logits.T, dim=1) @ logits


def normalising(points: Tensor) -> Tensor:
    """Normalises by the moments of the batch, as batch norm left in training mode does."""
    logits = honest(points)
    return logits - 0.01 * logits.mean(dim=0)


def summing(points: Tensor) -> Tensor:
    """Adds a little of all answers of the batch."""
    logits = honest(points)
    return logits + 0.01 * logits.sum(dim=0)


def ordered(points: Tensor) -> Tensor:
    """Reads the points in their order."""
    return honest(points) + honest(points[:, : points.shape[1] // 2])


def constant(points: Tensor) -> Tensor:
    """Has one answer for all."""
    return WEIGHT[:1].expand(len(points), -1)


def drawing(points: Tensor) -> Tensor:
    """Adds noise."""
    logits = honest(points)
    return logits + 0.01 * torch.randn_like(logits)


class Turning(nn.Module):
    """Says that no rotation matters: true of the eigenvalues of the moments, not of the moments."""

    symmetry = "SO3"

    def __init__(self, num_classes: int = 13, kept: bool = True) -> None:
        super().__init__()
        self.kept = kept
        self.layer = nn.Linear(3 if kept else 9, num_classes)

    def forward(self, points: Tensor) -> Tensor:
        found = points.transpose(1, 2) @ points / points.shape[1]
        found = torch.linalg.eigvalsh(found) if self.kept else found.flatten(1)
        return self.layer(found)


turning = Turning()
bent = Turning(kept=False)
