"""RI-GCN: its parameters, its frames and graphs against loops in NumPy, its invariance, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from csgnn_dgl.geometry import random_rotations
from csgnn_dgl.models import RIGCN
from csgnn_dgl.nn import Norm
from csgnn_dgl.nn.affinity import AffinityMean, affinity, affinity_graph, squared_distances
from csgnn_dgl.nn.frames import in_frames, local_frames
from csgnn_dgl.testing import rotate_points
from tests.forms import HAS_DGL
from tests.tolerances import EXACT, TOLERANCE, assert_same_up_to_scale

TINY: dict[str, Any] = {**RIGCN.tiny, "num_classes": 5}
FORMS = ("fast", "auto", *(("reference",) if HAS_DGL else ()))


def tiny(dtype: torch.dtype = torch.float64, **changes: Any) -> RIGCN:
    """A tiny model in evaluation mode with running statistics that are not those of a fresh one."""
    torch.manual_seed(1)
    model = RIGCN(**{**TINY, **changes}).to(dtype)
    for module in model.modules():
        if isinstance(module, Norm):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def clouds(dtype: torch.dtype = torch.float64, count: int = 3, size: int = 80) -> Tensor:
    points = torch.randn(count, size, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return points.to(dtype)


def box(count: int = 2, size: int = 80) -> Tensor:
    """Points on the faces of boxes: neighbourhoods that are flat, with no thickness at all."""
    generator = torch.Generator().manual_seed(3)
    points = torch.rand(count, size, 3, generator=generator, dtype=torch.float64) - 0.5
    axis = torch.arange(size) % 3
    points[:, torch.arange(size), axis] = torch.where(torch.arange(size) % 2 == 0, 0.5, -0.5).double()
    return points * torch.tensor([1.0, 0.8, 0.5], dtype=torch.float64)


def authors_frame(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the axes of one neighbourhood, step by step."""
    mean = sum(offsets) / len(offsets)
    covariance = sum(np.outer(offset - mean, offset - mean) for offset in offsets) / (len(offsets) - 1)
    values, vectors = np.linalg.eigh(covariance)
    axes = []
    for place in sorted(range(3), key=lambda place: -values[place]):
        axis = vectors[:, place]
        ahead = sum(1 for offset in offsets if offset @ axis >= 0)
        behind = sum(1 for offset in offsets if offset @ -axis >= 0)
        axes.append(-axis if behind >= ahead else axis)
    return mean, np.stack(axes, axis=1)


def affinity_by_loops(points: np.ndarray, count: int) -> np.ndarray:
    size = len(points)
    weights = np.zeros((size, size))
    for i in range(size):
        squared = [float(((point - points[i]) ** 2).sum()) for point in points]
        variance = sum(value**2 for value in squared) / size - (sum(squared) / size) ** 2
        for j in range(size):
            if j != i and squared[j] < sorted(squared)[count - 1]:
                weights[i, j] = np.exp(-squared[j] / variance)
    weights = np.maximum(weights, weights.T) + np.eye(size)
    degrees = weights.sum(axis=1)
    return weights / np.sqrt(np.outer(degrees, degrees))


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 4_384_808),
        ({"width": 0.25, "neighbours": (24, 12, 8)}, 280_616),
        ({"width": 0.5, "neighbours": (32, 16, 8)}, 1_104_936),
    ],
)
def test_parameters_are_as_many_as_the_authors(arguments: dict, parameters: int) -> None:
    assert sum(p.numel() for p in RIGCN(**arguments).parameters()) == parameters


def test_frames_are_those_that_the_authors_define() -> None:
    offsets = torch.cat([torch.zeros(7, 1, 3), torch.randn(7, 11, 3)], dim=1).double()
    mean, axes = local_frames(offsets, torch.randn(7, 3))
    for number in range(7):
        wanted = authors_frame(offsets[number].numpy())
        np.testing.assert_allclose(mean[number], wanted[0], **EXACT)
        np.testing.assert_allclose(axes[number], wanted[1], **TOLERANCE[torch.float64])


@pytest.mark.parametrize("size", [8, 9])
def test_frames_turn_with_the_points(size: int, dtype: torch.dtype) -> None:
    offsets = torch.cat([torch.zeros(20, 1, 3), torch.randn(20, size - 1, 3)], dim=1).to(dtype)
    offsets[10:] *= torch.tensor([1.0, 0.5, 0.0], dtype=dtype)  # flat ones
    offsets, outward = offsets @ torch.linalg.qr(torch.randn(3, 3)).Q.to(dtype), torch.randn(20, 3).to(dtype)
    mean, axes = local_frames(offsets, outward)
    for rotation in torch.tensor(random_rotations(20, np.random.default_rng(0))):
        turned = offsets @ rotation.T.to(dtype)
        new_mean, new_axes = local_frames(turned, outward @ rotation.T.to(dtype))
        torch.testing.assert_close(new_mean, mean @ rotation.T, **TOLERANCE[dtype])
        torch.testing.assert_close(new_axes, rotation @ axes, **TOLERANCE[dtype])
        torch.testing.assert_close(
            in_frames(turned, new_mean, new_axes), in_frames(offsets, mean, axes), **TOLERANCE[dtype]
        )


@pytest.mark.parametrize(
    "offsets",
    [
        torch.zeros(8, 3),
        torch.arange(8)[:, None] * torch.tensor([1.0, 2.0, -1.0]),
        torch.cat([torch.zeros(2, 3), torch.eye(3), -torch.eye(3)]),
        torch.cat([torch.zeros(1, 3), torch.eye(3)[:2], -torch.eye(3)[:2]]),
        1e-30 * torch.ones(8, 3),
    ],
    ids=["one place", "line", "octahedron", "square", "tiny"],
)
def test_frames_without_a_best_answer_are_orthonormal_and_the_same_again(offsets: Tensor) -> None:
    mean, axes = local_frames(offsets[None], torch.zeros(1, 3))
    again = local_frames(offsets[None].clone(), torch.zeros(1, 3))
    assert torch.equal(mean, again[0]) and torch.equal(axes, again[1])
    torch.testing.assert_close(axes[0].T @ axes[0], torch.eye(3).double(), **TOLERANCE[torch.float64])


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_affinities_are_those_that_loops_find(count: int) -> None:
    points = clouds(size=12)
    found = affinity(squared_distances(points), count)
    for cloud in range(3):
        np.testing.assert_allclose(
            found[cloud], affinity_by_loops(points[cloud].numpy(), count), **TOLERANCE[torch.float64]
        )


def test_points_in_one_place_have_affinity_to_themselves_alone() -> None:
    assert torch.equal(affinity(torch.zeros(1, 6, 6), 4), torch.eye(6)[None])


@pytest.mark.skipif(not HAS_DGL, reason="needs dgl")
@pytest.mark.parametrize("count", [1, 4, 12])
def test_the_dgl_graph_has_the_same_affinities(count: int, dtype: torch.dtype) -> None:
    points = clouds(dtype, size=12)
    points[1, :5] = points[1, 0]  # equal distances
    squared = squared_distances(points)
    graph = affinity_graph(squared, count)
    dense = torch.zeros(36, 36, dtype=dtype)
    dense[graph.edges()] = graph.edata["weight"]
    torch.testing.assert_close(dense, torch.block_diag(*affinity(squared, count)), **TOLERANCE[dtype])
    assert graph.num_edges() == int((dense > 0).sum())


def test_all_forms_agree_in_outputs_and_gradients(dtype: torch.dtype) -> None:
    outcomes = []
    for form in FORMS:
        model = tiny(dtype, form=form)
        logits = model(clouds(dtype))
        logits.square().sum().backward()
        outcomes.append([logits.detach(), *(p.grad for p in model.parameters())])
    for outcome in outcomes[1:]:
        for found, wanted in zip(outcome, outcomes[0], strict=True):
            assert_same_up_to_scale(found, wanted)


def test_the_model_is_what_the_paper_describes() -> None:
    model, points = tiny(), clouds()[0]
    (k1, k2, k3, *edges), dilation = model.evaluated[:-1], model.evaluated[-1]
    cloud = points.numpy() / np.linalg.norm(points.numpy(), axis=1).max()

    def nearest(centre: np.ndarray, among: np.ndarray, count: int) -> list[int]:
        return sorted(range(len(among)), key=lambda i: float(((among[i] - centre) ** 2).sum()))[:count]

    chosen = [int(np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).argmax())]
    while len(chosen) < model.representatives[0]:
        gaps = [min(np.linalg.norm(point - cloud[other]) for other in chosen) for point in cloud]
        chosen.append(int(np.argmax(gaps)))
    centres, frames, sets = cloud[chosen], [], ([], [])  # type: ignore[var-annotated]
    for centre in centres:
        offsets = cloud[nearest(centre, cloud, k1 * dilation)] - centre
        frames.append(authors_frame(offsets[::dilation]))
        for own, of in zip(sets, (offsets[:k1], offsets[::dilation]), strict=True):
            own.append((of - frames[-1][0]) @ frames[-1][1])
    branches = zip((model.plain, model.dilated), sets, strict=True)
    both = [layers(torch.tensor(np.array(own))) for layers, own in branches]
    features = model.merge(torch.cat(both, dim=1))
    answers = [graph_answer(model, 0, centres, features, edges[0])]
    for stage, layers, k in ((1, model.second, k2), (2, model.third, k3)):
        before, centres = centres, centres[: model.representatives[stage]]
        rows = []
        for centre, (mean, axes) in zip(centres, frames, strict=False):
            near = nearest(centre, before, k)
            coordinates = torch.tensor((before[near] - centre - mean) @ axes)
            rows.append(torch.cat([coordinates, features[near]], dim=1))
        features = layers.rest(layers.first(torch.stack(rows)))
        answers.append(graph_answer(model, stage, centres, features, edges[stage]))
    wanted = model.classify(model.head(torch.cat(answers)[None]))
    torch.testing.assert_close(model(points[None]), wanted, **TOLERANCE[torch.float64])


def graph_answer(model: RIGCN, stage: int, points: np.ndarray, features: Tensor, count: int) -> Tensor:
    return model.graphs[stage](torch.tensor(affinity_by_loops(points, count)) @ features)


@pytest.mark.parametrize("points", [clouds(), box()], ids=["round", "box"])
@pytest.mark.parametrize("neighbours", [(8, 6, 4), (9, 6, 4)], ids=["even", "odd"])
def test_rotations_and_reflections_change_nothing(
    points: Tensor, neighbours: tuple[int, int, int], dtype: torch.dtype
) -> None:
    """Exact to rounding, also where whole neighbourhoods are flat and the votes of an odd number are equal."""
    model = tiny(dtype, neighbours=neighbours)
    wanted = model(points.to(dtype))
    for number, rotation in enumerate(random_rotations(20, np.random.default_rng(0))):
        turned = rotate_points(points, rotation if number % 2 else -rotation)
        torch.testing.assert_close(model(turned.to(dtype)), wanted, **TOLERANCE[dtype])


def test_the_order_of_the_points_changes_nothing(dtype: torch.dtype) -> None:
    model, points = tiny(dtype), clouds(dtype)
    order = torch.randperm(80)
    torch.testing.assert_close(model(points[:, order]), model(points), **TOLERANCE[dtype])


@pytest.mark.parametrize("shape", ["one place", "line", "lattice", "twins"])
def test_degenerate_clouds_have_finite_answers_and_gradients(shape: str) -> None:
    grid = torch.arange(5.0)
    points = {
        "one place": torch.ones(80, 3),
        "line": torch.linspace(-1, 1, 80)[:, None] * torch.tensor([1.0, -2.0, 0.5]),
        "lattice": torch.cartesian_prod(grid, grid, grid),
        "twins": clouds(torch.float32, 1, 40)[0].repeat(2, 1),
    }[shape]
    batch = torch.stack([points, points])
    model = tiny(torch.float32)
    logits = model(batch)
    assert logits.isfinite().all() and torch.equal(model(batch), logits) and torch.equal(logits[0], logits[1])
    model.train().loss(batch, torch.tensor([0, 1]))[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_training_draws_the_numbers_that_the_authors_draw_and_evaluation_draws_none() -> None:
    model = RIGCN()
    drawn = np.array([model._counts() for _ in range(2000)])
    assert drawn.min(axis=0).tolist() == [32, 16, 8, 8, 4, 2, 2]
    assert drawn.max(axis=0).tolist() == [96, 48, 24, 24, 12, 8, 4]
    state = torch.get_rng_state()
    assert model.eval()._counts() == (64, 32, 16, 16, 8, 4, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_loss_has_the_penalty_of_all_but_the_biases() -> None:
    model, points, labels = tiny(weight_penalty=0.25, dropout=0.0).train(), clouds(), torch.tensor([0, 3, 1])
    torch.manual_seed(5)
    loss, logits = model.loss(points, labels)
    torch.manual_seed(5)
    torch.testing.assert_close(logits, model(points), **TOLERANCE[torch.float64])
    wanted = cross_entropy(logits, labels)
    linear = {f"{name}.bias" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for name, weight in model.named_parameters():
        if name not in linear:
            wanted = wanted + 0.25 * weight.square().sum() / 2
    torch.testing.assert_close(loss, wanted, **TOLERANCE[torch.float64])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0.01}, "width must be at least 1/64, so that every layer has a channel, not 0.01"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"weight_penalty": -1.0}, "weight_penalty must be at least 0, not -1.0"),
        ({"dilation": 1}, "dilation must be an integer of at least 2, not 1"),
        ({"neighbours": [8, 6]}, r"neighbours must be three numbers, one for each stage, not \[8, 6\]"),
        ({"neighbours": [8, 1, 4]}, "neighbours of stage 2 must be an integer of at least 2, not 1"),
        ({"representatives": [8, 16, 8]}, r"representatives must not grow from stage to stage, as \(8, 16, 8\) do"),
        ({"neighbours": [8, 18, 4]}, "neighbours of stage 2 are up to 27 in training, of 24 representatives"),
        ({"graph_neighbours": [8, 6, 6]}, "graph_neighbours of stage 3 are up to 12 in training, of 8 representatives"),
        ({"form": "compiled"}, "form='compiled' has no kernels for affinities"),
        ({"form": "quick"}, "form must be one of auto, compiled, fast, reference"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RIGCN(**{**TINY, **changes})


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(64, 3), r"points of shape \(B, N, 3\) with N > 0 expected, got \(64, 3\)"),
        (torch.zeros(2, 64, 3), "cloud 0 of the batch has all points at the origin"),
        (torch.ones(2, 20, 3), "clouds of 20 points are too small for neighbourhoods among 16 points and 24 repres"),
    ],
)
def test_unusable_clouds_are_refused(points: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(torch.float32)(points)


def test_training_needs_points_for_the_largest_neighbourhood_that_it_may_draw() -> None:
    with pytest.raises(ValueError, match="clouds of 30 points are too small for neighbourhoods among 36 points"):
        tiny(torch.float32).train()(torch.randn(2, 30, 3))


def test_the_layer_names_its_form() -> None:
    assert repr(AffinityMean("fast")) == "AffinityMean(form='fast')"
