"""Spheres of different levels: the graph, and that equal levels are the present grid."""

import numpy as np
import pytest
import torch

from csgnn_dgl.geometry import icosphere, vertex_permutations
from csgnn_dgl.graphs import MixedLevel, MixedPooling, concentric_heterograph, levels_by_radius, mixed_heterograph
from csgnn_dgl.graphs.levels import PoolingLevel
from tests.tolerances import ROUNDED

LEVELS = [0, 2, 1, 2]


def pairs(graph, kind):
    return sorted(zip(*(nodes.tolist() for nodes in graph.edges(etype=kind)), strict=True))


def turned(levels, rotation):
    """Where a rotation takes each node."""
    sizes = [icosphere(own).num_vertices for own in levels]
    starts = np.cumsum([0, *sizes[:-1]])
    return np.concatenate(
        [vertex_permutations(own)[rotation] + start for own, start in zip(levels, starts, strict=True)]
    )


def test_equal_levels_are_the_present_heterograph():
    mixed, plain = mixed_heterograph([2] * 4, kernel_size=5), concentric_heterograph(2, 4, kernel_size=5)
    for kind in ("intra", "radial"):
        assert pairs(mixed, kind) == pairs(plain, kind)
    for name in ("position", "radius", "sphere"):
        assert torch.equal(mixed.nodes["vertex"].data[name], plain.nodes["vertex"].data[name])
    assert torch.equal(mixed.edges["radial"].data["offset"], plain.edges["radial"].data["offset"])
    assert (mixed.edges["radial"].data["weight"] == 1).all()
    step, plain_step = MixedPooling([2] * 4, 1), PoolingLevel(2, 4)
    assert pairs(step.graph, "pool") == pairs(plain_step.graph, "pool")
    assert step.pooled == (1,) * 4


def test_radial_edges_read_a_linear_function_of_the_direction_near_enough_and_exactly_at_nested_vertices():
    graph = mixed_heterograph(LEVELS, kernel_size=3)
    source, target = graph.edges(etype="radial")
    weight, offset = (graph.edges["radial"].data[name] for name in ("weight", "offset"))
    sphere, position = (graph.nodes["vertex"].data[name] for name in ("sphere", "position"))
    direction = position / position.norm(dim=1, keepdim=True)
    assert torch.equal(sphere[source] - sphere[target], offset)
    for tap in (-1, 1):
        here = offset == tap
        read = torch.zeros_like(position).index_add_(0, target[here], weight[here, None] * direction[source[here]])
        total = torch.zeros(len(position)).index_add_(0, target[here], weight[here])
        inside = (sphere + tap >= 0) & (sphere + tap < len(LEVELS))
        np.testing.assert_allclose(total, inside.float(), **ROUNDED)
        nested = torch.bincount(target[here], minlength=len(position)) == 1
        np.testing.assert_allclose(read[nested], direction[nested], **ROUNDED)
        # a mean of corners lies under its direction: the same ray, a shorter vector
        middle = torch.nn.functional.normalize(read[inside], dim=1)
        assert float((middle * direction[inside]).sum(dim=1).min()) > 0.99


@pytest.mark.parametrize("kind", ["intra", "radial"])
def test_edges_and_weights_turn_with_the_60_rotations(kind):
    graph = mixed_heterograph(LEVELS)
    source, target = (nodes.numpy() for nodes in graph.edges(etype=kind))
    weight = graph.edges["radial"].data["weight"].numpy() if kind == "radial" else np.ones(len(source))
    matrix = np.zeros((graph.num_nodes(), graph.num_nodes()))
    np.add.at(matrix, (target, source), weight)
    for rotation in range(60):
        place = turned(LEVELS, rotation)
        np.testing.assert_array_equal(matrix[np.ix_(place, place)], matrix)


def test_the_fast_reading_is_that_of_the_edges():
    level = MixedLevel(LEVELS, kernel_size=7)
    features = torch.randn(level.num_nodes, 2, 3, dtype=torch.float64)
    source, target = level.graph.edges(etype="radial")
    weight, offset = (level.graph.edges["radial"].data[name] for name in ("weight", "offset"))
    for tap in level.offsets:
        here = offset == tap
        sums = torch.zeros_like(features)
        sums.index_add_(0, target[here], weight[here, None, None].double() * features[source[here]])
        torch.testing.assert_close(level.shifted(features, tap), sums, **ROUNDED)


def test_a_step_pools_what_is_finer_and_keeps_the_rest():
    step = MixedPooling(LEVELS, 1)
    assert (step.levels, step.pooled, step.num_coarse) == ((0, 2, 1, 2), (0, 1, 1, 1), 12 + 3 * 42)
    source, target = step.graph.edges(etype="pool")
    kept = [(edge, place) for edge, place in zip(source.tolist(), target.tolist(), strict=True) if place < 12]
    assert kept == [(node, node) for node in range(12)]
    neighbours = icosphere(2).neighbours[5]
    of_sphere = sorted(source[target == 12 + 5].tolist())
    assert of_sphere == sorted([12 + 5, *(12 + neighbours[neighbours >= 0])])


def test_levels_follow_the_radius():
    assert levels_by_radius(4, 8) == (1, 2, 3, 3, 3, 4, 4, 4)
    assert levels_by_radius(1, 8) == (0, 0, 0, 0, 0, 1, 1, 1)
    for level, size in ((3, 20), (4, 20)):
        spacing = [radius / 2**own for radius, own in enumerate(levels_by_radius(level, size), start=1) if own > 0]
        assert max(spacing) / min(spacing) <= 2.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([],), "there are no levels"), (([1, -1],), "levels must be"), (([1], 2), "kernel_size must be an odd")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixedLevel(*arguments)
