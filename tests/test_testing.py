"""The equivariance tools are tools: they must catch what is not equivariant."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from csgnn_dgl.geometry import icosahedral_rotations, icosphere
from csgnn_dgl.geometry.rotations import rotations_about
from csgnn_dgl.graphs import ConcentricLevel, concentric_heterograph, pooling_graph
from csgnn_dgl.nn import IntraSphereConv, NormReLU, RadialConv, SharedDropout, SpherePool
from csgnn_dgl.symmetry import so3_error
from csgnn_dgl.testing import assert_equivariant, rotate_grid, rotate_points
from tests.tolerances import EXACT, TOLERANCE, drawn, relative


def test_rotated_features_stand_where_their_vertices_went() -> None:
    vertices = torch.tensor(icosphere(2).vertices)
    for index in (0, 1, 17, 59):
        # Feature of vertex x is x itself; after rotation the feature at x is R⁻¹ x.
        turned = rotate_grid(vertices[None], index)[0]
        inverse = icosahedral_rotations()[index].T.copy()
        torch.testing.assert_close(turned, rotate_points(vertices, inverse), **EXACT)
    with pytest.raises(ValueError, match="13 is no icosphere's number of vertices"):
        rotate_grid(torch.zeros(1, 13), 0)


def favours(h: Tensor) -> Tensor:
    """Wrong on purpose: one vertex counts twice."""
    return torch.cat([2 * h[:, :1], h[:, 1:]], dim=1)


def test_a_layer_that_favours_a_vertex_is_caught() -> None:
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


def test_tolerances_are_relative_to_what_the_output_varies_by() -> None:
    points = torch.randn(2, 50, 3)

    def nearly(x: Tensor) -> Tensor:
        return 1000 + x.norm(dim=-1).sum(1) + x[..., 2].mean(1)

    for rtol, atol in ((0.1, 0), (0, 2)):
        assert_equivariant(nearly, points, rtol=rtol, atol=atol)
    with pytest.raises(AssertionError, match=r"largest 1.08e\+03"):
        assert_equivariant(nearly, points, **relative(TOLERANCE[torch.float32]))


@pytest.mark.parametrize("constant", [0.0, 1e3, 1e6])
def test_a_large_constant_hides_nothing(constant: float, dtype: torch.dtype) -> None:
    features, points = torch.randn(2, 42, 1, 3, dtype=dtype), torch.randn(2, 50, 3, dtype=dtype)
    with pytest.raises(AssertionError, match="taken as grid"):
        assert_equivariant(lambda h: constant + favours(h), features)
    with pytest.raises(AssertionError, match="taken as invariant"):
        assert_equivariant(lambda h: constant + favours(h).sum((0, 1)), features)
    with pytest.raises(AssertionError, match="taken as invariant"):
        assert_equivariant(lambda x: constant + x[..., 2].amax(1), points)
    assert_equivariant(lambda h: constant + 3 * h, features)
    assert_equivariant(lambda h: constant + 3 * h.sum((0, 1)), features)
    assert_equivariant(lambda x: constant + x.norm(dim=-1).sum(1), points)
    assert_equivariant(lambda x: torch.full((2,), constant, dtype=dtype), points)


class FirstNeighbours(IntraSphereConv):
    """Wrong on purpose: reads the neighbours that are listed first, which a rotation does not keep."""

    def forward(self, graph: Any, features: Tensor) -> Tensor:
        """Convolve in the wrong way."""
        ring = torch.from_numpy(icosphere(1).neighbours.copy())
        return features[:, ring[:, :3]].sum(dim=2) @ self.weight


class OneSphereTurned(nn.Module):
    """Wrong on purpose: joins each vertex with another one of the next sphere."""

    def forward(self, features: Tensor) -> Tensor:
        """Add what the next sphere has at the next vertex."""
        return features + features.roll((1, 1), dims=(0, 1))


def test_layers_that_are_wrong_on_purpose_are_caught(dtype: torch.dtype) -> None:
    graph, features = concentric_heterograph(1, 3), torch.randn(3, 42, 2, 4, dtype=dtype)
    assert_equivariant(IntraSphereConv(4, 5).to(dtype), graph, features)
    assert_equivariant(RadialConv(4, 5).to(dtype), graph, features)
    assert_equivariant(SpherePool(), pooling_graph(1, 3), features)
    for wrong in (FirstNeighbours(4, 5).to(dtype), lambda graph, h: OneSphereTurned()(h)):
        with pytest.raises(AssertionError, match=r"rotation \d+: outputs differ by .*taken as grid"):
            assert_equivariant(wrong, graph, features)
    graph.remove_edges(torch.arange(3), etype="intra")
    with pytest.raises(AssertionError, match="outputs differ by"):
        assert_equivariant(IntraSphereConv(4, 5).to(dtype), graph, features)
    # Right for one of the rotations, as all are for the identity, is not right.
    assert_equivariant(IntraSphereConv(4, 5).to(dtype), graph, features, rotations=[0])


def test_what_draws_at_random_is_called_so() -> None:
    features = torch.randn(2, 42, 3, 4)
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3))
    with pytest.raises(
        ValueError, match=r"the module in training mode is not deterministic: .* as module.eval\(\) does"
    ):
        assert_equivariant(module, features)
    with pytest.raises(ValueError, match="the module in training mode is not deterministic"):
        assert_equivariant(nn.Sequential(SharedDropout(0.5)), features, outputs_are="grid")
    assert_equivariant(module.eval(), features)
    with pytest.raises(ValueError, match="the module is not deterministic"):
        assert_equivariant(lambda h: h + 0.01 * torch.randn(()), features)
    state = [0.0]

    def counts(h: Tensor) -> Tensor:
        state[0] += 1
        return h + state[0]

    with pytest.raises(ValueError, match="the module is not deterministic"):
        assert_equivariant(counts, features)
    # A batch norm that measures is deterministic, and equivariant.
    assert_equivariant(NormReLU(4).train(), features)


def test_modules_may_take_and_give_several_tensors() -> None:
    points, features, labels = torch.randn(2, 5, 3), torch.randn(2, 42, 2, 4), torch.randn(2)

    def several(x: Tensor, rest: dict[str, Any]) -> dict[str, Any]:
        h, b = rest["h"], rest["label"]
        return {"points": 2 * x, "more": (h * b[:, None], h.sum((0, 1)) + x.norm(dim=-1).sum(), "no tensor")}

    rest = {"h": features, "label": labels}
    assert_equivariant(several, points, rest)
    assert_equivariant(several, points, rest, outputs_are=("points", "grid", "invariant"))
    assert_equivariant(several, points, rest, inputs_are=["points", "grid", "invariant"])
    with pytest.raises(AssertionError, match=r"outputs\['more'\]\[0\] differ by .*taken as invariant"):
        assert_equivariant(several, points, rest, outputs_are=("points", "invariant", "invariant"))
    with pytest.raises(ValueError, match="2 kinds are told of 3 tensors; tell one for each, or one for all"):
        assert_equivariant(several, points, rest, outputs_are=("points", "grid"))

    def wrong(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return h, h + x[:, 0, 2, None]

    with pytest.raises(AssertionError, match=r"outputs\[1\] differ by"):
        assert_equivariant(wrong, points, features)


def test_node_features_turn_as_the_grid_does() -> None:
    graph, nodes = concentric_heterograph(1, 3), torch.randn(126, 2, 4)
    for layer in (IntraSphereConv(4, 5), RadialConv(4, 5)):
        assert_equivariant(layer, graph, nodes)
        assert_equivariant(layer, ConcentricLevel(1, 3), nodes)
        assert_equivariant(lambda h: layer(graph, h), nodes, num_spheres=3)  # noqa: B023 - called at once
        assert_equivariant(lambda h: layer(graph, h), nodes)  # noqa: B023 - 126 nodes are 3 spheres of level 1
    assert_equivariant(SpherePool(), pooling_graph(1, 3), nodes, num_spheres=3)
    assert_equivariant(lambda h: h.sum(0), nodes[..., :3], inputs_are="nodes")
    with pytest.raises(AssertionError, match="taken as nodes"):
        assert_equivariant(lambda h: h.roll(1, dims=0), nodes)
    with pytest.raises(AssertionError, match="taken as nodes"):
        assert_equivariant(lambda h: favours(h.unflatten(0, (3, 42))).flatten(0, 1), nodes[..., :3], num_spheres=3)
    with pytest.raises(ValueError, match="num_spheres for node features"):
        assert_equivariant(lambda h: h, torch.randn(12 * 42, 2, 4))  # of 12 spheres, or 42
    assert_equivariant(lambda h: h, torch.randn(12 * 42, 2, 4), num_spheres=12)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) are neither points nor features"):
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
    error = so3_error(model, points, angles=(0, 30, 90, 180), axes_per_angle=32)
    assert model.training
    # Height after a turn by t about an axis at polar angle a: 1 - (1 - cos t) sin² a; sin² a is 2/3 ± 0.3.
    expected = [2 / 3 * (1 - np.cos(np.deg2rad(t))) / np.sqrt(2) for t in (30, 90, 180)]
    np.testing.assert_allclose(np.divide(error.relative_error[1:], expected), 1, **drawn(0.3 / (2 / 3), 200 * 32))
    assert error.relative_error[0] == error.changed[0] == 0 and list(error.angles) == [0, 30, 90, 180]
    assert str(error).splitlines()[0].startswith("angle") and len(str(error).splitlines()) == 5


def test_rotations_about_axes_are_those_of_scipy() -> None:
    axes = np.random.default_rng(0).normal(size=(5, 3))
    unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    for angle in (0.0, 0.3, np.pi):
        wanted = Rotation.from_rotvec(angle * unit).as_matrix()
        np.testing.assert_allclose(rotations_about(axes, angle), wanted, **EXACT)


def test_so3_error_counts_changes_of_class_and_repeats_itself() -> None:
    points = torch.randn(64, 8, 3)

    def top_axis(x: Tensor) -> Tensor:
        return x.mean(1)

    first = so3_error(top_axis, points, angles=(0, 120), seed=3)
    assert first == so3_error(top_axis, points, angles=(0, 120), seed=3, batch_size=7)
    assert first.changed[0] == 0 and first.changed[1] > 0.4
