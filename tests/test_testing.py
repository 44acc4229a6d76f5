"""The equivariance tools are tools: they must catch what is not equivariant."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from csgnn_dgl.geometry import icosahedral_rotations, icosphere
from csgnn_dgl.geometry.rotations import rotations_about
from csgnn_dgl.symmetry import so3_error
from csgnn_dgl.testing import assert_equivariant, rotate_grid, rotate_points


def test_rotated_features_stand_where_their_vertices_went() -> None:
    vertices = torch.tensor(icosphere(2).vertices)
    for index in (0, 1, 17, 59):
        # Feature of vertex x is x itself; after rotation the feature at x is R⁻¹ x.
        turned = rotate_grid(vertices[None], index)[0]
        inverse = icosahedral_rotations()[index].T.copy()
        torch.testing.assert_close(turned, rotate_points(vertices, inverse), rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="13 is no icosphere's number of vertices"):
        rotate_grid(torch.zeros(1, 13), 0)


def test_a_layer_that_favours_a_vertex_is_caught() -> None:
    def favours(h: Tensor) -> Tensor:
        return torch.cat([2 * h[:, :1], h[:, 1:]], dim=1)

    features = torch.randn(2, 42, 1, 3)
    assert_equivariant(favours, features, rotations=[0])
    with pytest.raises(AssertionError, match="not equivariant under icosahedral rotation 1: outputs differ by"):
        assert_equivariant(favours, features)
    assert_equivariant(lambda h: 3 * h + 1, features)


def test_points_to_points_and_points_to_invariants() -> None:
    points = torch.randn(2, 50, 3)
    assert_equivariant(lambda x: 2 * x, points)
    assert_equivariant(lambda x: x.norm(dim=-1).sum(1), points)
    with pytest.raises(AssertionError, match="taken as points"):
        assert_equivariant(lambda x: x * torch.tensor([1.0, 1, 2]), points)
    with pytest.raises(AssertionError, match="taken as invariant"):
        assert_equivariant(lambda x: x[..., 2].amax(1), points)
    # A wrong claim is caught too: positions are not invariant.
    with pytest.raises(AssertionError, match="taken as invariant"):
        assert_equivariant(lambda x: x, points, outputs_are="invariant")


def test_tolerances_are_relative_to_the_largest_output() -> None:
    points = torch.randn(2, 50, 3)

    def nearly(x: Tensor) -> Tensor:
        return 1000 + x[..., 2].mean(1)

    assert_equivariant(nearly, points, rtol=1e-2)
    assert_equivariant(nearly, points, rtol=0, atol=2)
    with pytest.raises(AssertionError):
        assert_equivariant(nearly, points, rtol=1e-6)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="neither points nor features"):
        assert_equivariant(lambda x: x, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="not finite"):
        assert_equivariant(lambda x: x / 0, torch.zeros(2, 5, 3))


class Height(nn.Module):
    """(1, height of the centre of mass): its error under a rotation by t is known."""

    def forward(self, points: Tensor) -> Tensor:
        """Return (B, 2)."""
        assert not self.training
        height = points.mean(1)[:, 2]
        return torch.stack([torch.ones_like(height), height], dim=1)


def test_so3_error_is_zero_without_rotation_and_grows_with_the_angle() -> None:
    points = torch.zeros(200, 4, 3, dtype=torch.float64)
    points[..., 2] = 1.0
    model = Height().train()
    error = so3_error(model, points, angles=(0, 30, 90, 180), axes_per_angle=8)
    assert model.training
    # Height after a turn by t about an axis at polar angle a: 1 - (1 - cos t) sin² a; the mean of sin² a is 2/3.
    expected = [2 / 3 * (1 - np.cos(np.deg2rad(t))) / np.sqrt(2) for t in (0, 30, 90, 180)]
    np.testing.assert_allclose(error.relative_error, expected, rtol=0.03, atol=1e-12)
    assert error.changed[0] == 0 and list(error.angles) == [0, 30, 90, 180]
    assert str(error).splitlines()[0].startswith("angle") and len(str(error).splitlines()) == 5


def test_rotations_about_axes_are_those_of_scipy() -> None:
    axes = np.random.default_rng(0).normal(size=(5, 3))
    unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    for angle in (0.0, 0.3, np.pi):
        wanted = Rotation.from_rotvec(angle * unit).as_matrix()
        np.testing.assert_allclose(rotations_about(axes, angle), wanted, rtol=0, atol=1e-14)


def test_so3_error_counts_changes_of_class_and_repeats_itself() -> None:
    points = torch.randn(64, 8, 3)

    def top_axis(x: Tensor) -> Tensor:
        return x.mean(1)

    first = so3_error(top_axis, points, angles=(0, 120), seed=3)
    assert first == so3_error(top_axis, points, angles=(0, 120), seed=3, batch_size=7)
    assert first.changed[0] == 0 and first.changed[1] > 0.4
