"""Kernel points and their convolution, against the paper's sum in Python and what the sum means."""

import pytest
import torch
from torch import Tensor

from csgnn_dgl.nn.kernel_points import MEAN_RADIUS, KernelPointConv, kernel_disposition
from csgnn_dgl.nn.ops.ragged import Clouds, Neighbourhoods, coarser, grid_subsampling, within_radius
from tests.tolerances import NUMERIC, TOLERANCE, assert_same_up_to_scale

CELL = 0.2
RADIUS, EXTENT = 2.5 * CELL, 1.2 * CELL
FORMS = pytest.mark.parametrize("reference", [False, True], ids=["fast", "reference"])


def layer(dtype: torch.dtype = torch.float64, reference: bool = False, seed: int = 0) -> KernelPointConv:
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(seed)
    return KernelPointConv(4, 6, RADIUS, EXTENT, generator, reference=reference).to(dtype)


def neighbourhoods(dtype: torch.dtype = torch.float64, count: int = 60) -> tuple[Clouds, Neighbourhoods]:
    points = torch.rand(2, count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    fine = grid_subsampling(points.to(dtype), CELL)
    return fine, within_radius(fine, coarser(fine), RADIUS)


def pair(vector: Tensor) -> Neighbourhoods:
    """One neighbour of one query."""
    zero = torch.zeros(1, dtype=torch.int64)
    return Neighbourhoods(zero, zero, vector[:, None], torch.tensor([0, 1]))


@FORMS
def test_the_convolution_is_the_papers_sum(reference: bool, dtype: torch.dtype) -> None:
    conv, (fine, found) = layer(dtype, reference), neighbourhoods(dtype)
    features = torch.randn(len(fine.points), 4, dtype=dtype)
    wanted = torch.zeros(found.num_queries, 6, dtype=dtype)
    for edge, (query, support) in enumerate(zip(found.query.tolist(), found.support.tolist(), strict=True)):
        for kernel_point, weight in zip(conv.kernel_points, conv.weight, strict=True):
            influence = 1 - float((found.vectors[:, edge] - kernel_point).norm()) / EXTENT
            if influence > 0:
                wanted[query] += influence * (features[support] @ weight.detach())
    torch.testing.assert_close(conv(found, features).detach(), wanted, **TOLERANCE[dtype])


def test_both_forms_have_the_same_gradients(dtype: torch.dtype) -> None:
    results = []
    for reference in (False, True):
        conv, (fine, found) = layer(dtype, reference), neighbourhoods(dtype)
        features = torch.randn(len(fine.points), 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
        vectors = found.vectors.clone().requires_grad_()
        features.requires_grad_()
        result = conv(found._replace(vectors=vectors), features)
        result.square().sum().backward()
        results.append([result.detach(), conv.weight.grad, features.grad, vectors.grad])
    for one, other in zip(*results, strict=True):
        assert_same_up_to_scale(one, other)


def test_gradients_are_those_of_finite_differences() -> None:
    conv, (fine, found) = layer(), neighbourhoods(count=12)
    features = torch.randn(len(fine.points), 4, dtype=torch.float64, requires_grad=True)
    vectors = found.vectors.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda features, vectors: conv(found._replace(vectors=vectors), features), (features, vectors), **NUMERIC
    )


@FORMS
def test_a_neighbour_on_a_kernel_point_has_its_whole_weight(reference: bool) -> None:
    conv = layer(reference=reference)
    features = torch.randn(1, 4, dtype=torch.float64)
    points = conv.kernel_points
    for chosen, vector in enumerate(points):
        others = (1 - (points - vector).norm(dim=1) / EXTENT).clamp(min=0)
        assert others[chosen] == 1
        wanted = torch.einsum("c,k,kcf->f", features[0], others, conv.weight)
        found = conv(pair(vector.clone().requires_grad_()), features)
        torch.testing.assert_close(found[0], wanted, **TOLERANCE[torch.float64])


@FORMS
def test_a_neighbour_on_a_kernel_point_has_a_finite_gradient(reference: bool) -> None:
    conv = layer(reference=reference)
    vector = conv.kernel_points[3].clone().requires_grad_()
    conv(pair(vector), torch.ones(1, 4, dtype=torch.float64)).sum().backward()
    assert vector.grad is not None and vector.grad.isfinite().all()


@FORMS
def test_where_no_neighbour_is_near_a_kernel_point_there_is_nothing(reference: bool) -> None:
    conv = layer(reference=reference)
    features = torch.ones(1, 4, dtype=torch.float64, requires_grad=True)
    found = conv(pair(torch.full((3,), RADIUS, dtype=torch.float64)), features)
    assert torch.equal(found, torch.zeros(1, 6, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(found.sum(), features)
    assert torch.equal(gradient, torch.zeros(1, 4, dtype=torch.float64))


def test_kernel_points_repel_each_other_and_are_drawn_to_the_centre() -> None:
    points = kernel_disposition()
    assert torch.equal(points[0], torch.zeros(3, dtype=torch.float64))
    radii = points[1:].norm(dim=1)
    torch.testing.assert_close(radii.mean(), radii.new_tensor(MEAN_RADIUS), **TOLERANCE[torch.float64])
    # in balance: the force of the others is along the radius and grows with it
    gaps = points[1:, None] - points
    lengths = gaps.norm(dim=2, keepdim=True)
    force = torch.where(lengths > 0, gaps / lengths**3, 0.0).sum(dim=1)
    strength = (force * points[1:]).sum() / radii.square().sum()
    torch.testing.assert_close(force, strength * points[1:], **TOLERANCE[torch.float64])


def test_kernel_points_come_from_the_seed_and_stay_in_the_checkpoint() -> None:
    one, again, other = layer(), layer(), layer(seed=1)
    assert torch.equal(one.kernel_points, again.kernel_points)
    assert not torch.equal(one.kernel_points, other.kernel_points)
    assert torch.equal(one.state_dict()["kernel_points"], one.kernel_points)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.kernel_points, other.kernel_points)
    assert not one.kernel_points.requires_grad


def test_kernel_points_are_turned_about_the_third_axis_and_moved_a_little() -> None:
    points = layer().kernel_points / RADIUS
    plain = kernel_disposition()
    assert 0 < (points[:, 2] - plain[:, 2]).std() < 0.03
    assert 0 < (points.norm(dim=1) - plain.norm(dim=1)).std() < 0.03
    assert (points - plain).norm(dim=1).max() > 0.1
