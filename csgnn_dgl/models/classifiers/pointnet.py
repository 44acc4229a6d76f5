"""PointNet, which takes the points of a cloud one by one and keeps the maximum of each feature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from csgnn_dgl.mapping.unit_ball import scale_to_unit_ball
from csgnn_dgl.models.classifiers.base import CLASSIFIERS, Classifier
from csgnn_dgl.nn.mlp import mlp
from csgnn_dgl.nn.moments import num_processes
from csgnn_dgl.nn.pooled import PooledLinear

EPS = 1e-3
"""ε of the norms, as in the authors' code."""


@CLASSIFIERS.register("pointnet")
class PointNet(Classifier):
    r"""PointNet (Qi, Su, Mo & Guibas, CVPR 2017).

    .. math:: f(x_1, \dots, x_N) = \gamma\big(\max_i h(x_i)\big)

    Two small networks of the same kind, the T-Nets, look at the whole cloud first and give a matrix that its points
    and later its features are multiplied by from the right: T₃ (3 × 3) and T₆₄ (64 × 64). With N points:

    ========== ===================== =====================================
    step       shape                 layers
    ========== ===================== =====================================
    T-Net      (B, N, 3)             x ← x T₃
    features   (B, N, 64)            3 → 64 → 64
    T-Net      (B, N, 64)            x ← x T₆₄
    features   (B, N, 1024)          64 → 64 → 128 → 1024
    maximum    (B, 1024)             over the points
    head       (B, num_classes)      1024 → 512 → 256 → num_classes
    ========== ===================== =====================================

    All layers but the last of the head have a bias, batch norm and ReLU; dropout follows the two before the last. With
    the defaults there are 3,480,049 parameters, without T-Nets (the paper's vanilla version) 819,624.

    In training, :meth:`loss` adds a penalty that keeps T₆₄ near an orthogonal matrix. The order of the points changes
    nothing; rotations do.

    Layers, loss and initial values are those of the authors' code (github.com/charlesq34/pointnet,
    ``models/pointnet_cls.py``, ``models/transform_nets.py``, ``utils/tf_util.py``). Other than there, each cloud is
    divided by its largest norm first, which changes nothing for the published data, and the norms' running averages
    move by a tenth of each batch, where the authors begin with a half and halve that every 200,000 samples.

    Parameters
    ----------
    t_nets
        Whether there are T-Nets.
    penalty
        Weight of the penalty on T₆₄.
    dropout
        Probability of dropping an output of the head's two hidden layers.
    **shared
        As in :class:`Classifier`.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> PointNet(num_classes=10).eval()(torch.randn(5, 1024, 3)).shape
    torch.Size([5, 10])
    """

    def __init__(self, t_nets: bool = True, penalty: float = 1e-3, dropout: float = 0.3, **shared: Any) -> None:
        super().__init__(**shared)
        if not penalty >= 0:
            raise ValueError(f"penalty must be at least 0, not {penalty!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout!r}")
        self.penalty = penalty
        self.point_transform = TNet(3) if t_nets else None
        self.point_layers = mlp(3, 64, 64, eps=EPS)
        self.feature_transform = TNet(64) if t_nets else None
        self.feature_layers = nn.Sequential(mlp(64, 64, 128, eps=EPS), PooledLinear(128, 1024, eps=EPS))
        self.head = mlp(1024, 512, 256, eps=EPS, dropout=dropout)
        self.output = nn.Linear(256, self.num_classes)
        for module in (self.point_layers, self.feature_layers, self.head, self.output):
            draw(module)

    def forward_points(self, points: Tensor) -> Tensor:
        """Classify point clouds.

        Parameters
        ----------
        points
            (B, N, 3) positions, any unit of length.

        Returns
        -------
        torch.Tensor
            (B, num_classes) logits.

        Raises
        ------
        ValueError
            If the shape is another, a coordinate is not finite or all points of a cloud lie at the origin.
        """
        return self._classify(points)[0]

    def loss(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return what a training step minimises, and the logits; see :meth:`Classifier.loss`.

        The cross-entropy, a mean over the batch, and with T-Nets a sum over the batch:
        :math:`\lambda\,\tfrac12 \sum_b \lVert T_b T_b^\top - I \rVert^2` with T = T₆₄ and λ = `penalty`.
        """
        logits, transforms = self._classify(self.pose_for_training(points))
        result = self.cross_entropy(logits, labels)
        if transforms is not None:
            # Processes that train together average their losses: the sum is over the batch of all.
            result = result + self.penalty * num_processes() * distance_from_orthogonal(transforms)
        return result, logits

    def _classify(self, points: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and T₆₄ (B, 64, 64) if there are T-Nets."""
        features = scale_to_unit_ball(points).to(self.output.weight.dtype)
        if self.point_transform is not None:
            features = features @ self.point_transform(features)
        features = self.point_layers(features)
        transforms = None
        if self.feature_transform is not None:
            transforms = self.feature_transform(features)
            features = features @ transforms
        return self.output(self.head(self.feature_layers(features))), transforms


class TNet(nn.Module):
    """A small PointNet that gives a matrix for each cloud, the identity as long as it is not trained.

    Parameters
    ----------
    channels
        C.

    Shapes
    ------
    - features: (B, N, C); output: (B, C, C).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.layers = nn.Sequential(mlp(channels, 64, 128, eps=EPS), PooledLinear(128, 1024, eps=EPS))
        self.head = mlp(1024, 512, 256, eps=EPS)
        self.matrix = nn.Linear(256, channels**2)
        draw(self)
        nn.init.zeros_(self.matrix.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return the matrices; see the class."""
        matrices = self.matrix(self.head(self.layers(features)))
        identity = torch.eye(self.channels, dtype=matrices.dtype, device=matrices.device)
        return matrices.unflatten(1, identity.shape) + identity


def draw(module: nn.Module) -> None:
    """Draw the weights of all linear layers after Glorot & Bengio (2010) and set their biases to zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def distance_from_orthogonal(matrices: Tensor) -> Tensor:
    """Return ½ Σ ‖T Tᵀ - I‖² over matrices T (B, C, C), in float32 at least."""
    matrices = matrices.to(torch.promote_types(matrices.dtype, torch.float32))
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return (matrices @ matrices.mT - identity).square().sum() / 2
