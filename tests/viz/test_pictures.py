"""Clouds, maps, answers and curves show the numbers that they were given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from csgnn_dgl.errors import InputError
from csgnn_dgl.geometry import icosahedral_rotations, icosphere, random_rotations
from csgnn_dgl.graphs import ConcentricGrid, concentric_heterograph, html_of
from csgnn_dgl.mapping import PrismMapping
from csgnn_dgl.symmetry import SO3Error
from csgnn_dgl.viz import (
    draw_cloud,
    draw_features,
    draw_map,
    draw_saliency,
    draw_so3_error,
    interactive_cloud,
    interactive_heterograph,
    response_figure,
    saliency,
)
from tests.tolerances import ROUNDED


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_a_cloud_has_equal_axes_and_is_drawn_from_far_to_near() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 3] + 5
    axes = draw_cloud(points, values=np.arange(50) - 20.0, value_name="number", title="a cloud")
    spans = [np.ptp(limits) for limits in (axes.get_xlim(), axes.get_ylim(), axes.get_zlim())]
    np.testing.assert_allclose(spans, spans[0], **ROUNDED)
    assert len(axes.figure.axes) == 2 and axes.get_title() == "a cloud"
    with pytest.raises(InputError, match="49 for 50 points"):
        draw_cloud(points, values=np.zeros(49))
    points[3, 1] = np.inf
    with pytest.raises(InputError, match=r"not finite, the first at \(3, 1\)"):
        draw_cloud(points)


def test_vertices_without_a_value_are_not_drawn() -> None:
    values = np.zeros((3, 42))
    values[1, [4, 9]] = -1.0, 2.0
    axes = draw_features(values, on="vertices")
    found = np.array(axes.collections[0]._offsets3d).T
    wanted = icosphere(1).vertices[[4, 9]] * 2 / 3
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], wanted[np.argsort(wanted[:, 0])], **ROUNDED)


def test_a_map_has_the_value_of_the_nearest_vertex() -> None:
    values = np.arange(42.0) - 10
    axes = draw_map(values, title="a map", value_name="number")
    mesh = axes.collections[0]
    shares = np.unique(mesh.get_array(), return_counts=True)
    assert shares[0].tolist() == values.tolist() and mesh.cmap.name == "RdBu_r"
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-31, 31)
    with pytest.raises(InputError, match="projection 'rectilinear'"):
        draw_map(values, plt.figure().add_subplot())


def test_saliency_is_the_norm_of_the_gradient() -> None:
    class Logits(nn.Module):
        def forward(self, points):
            return torch.stack([points.square().sum(dim=(1, 2)), points[:, :, 0].sum(dim=1)], dim=1)

    points = torch.randn(10, 3)
    torch.testing.assert_close(saliency(Logits(), points, 0), 2 * points.norm(dim=1), **ROUNDED)
    torch.testing.assert_close(saliency(Logits(), points, 1), torch.ones(10), **ROUNDED)
    assert draw_saliency(Logits(), points, title="which points").get_title() == "which points"
    with pytest.raises(InputError, match="label is 2; give 0 to 1"):
        saliency(Logits(), points, 2)


def test_an_answer_turns_with_the_cloud() -> None:
    mapping = PrismMapping(1, 2, 1)
    turned = random_rotations(1, np.random.default_rng(0))[0]
    figure = response_figure(
        mapping,
        torch.nn.functional.normalize(torch.randn(60, 3)) * torch.rand(60, 1),
        [icosahedral_rotations()[7], turned],
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "the cloud" and titles[-1] == "no rotation of the icosahedron"
    assert float(titles[3].rsplit(" ", 1)[1]) < 1e-6
    with pytest.raises(InputError, match="let it give"):
        response_figure(lambda points: points, torch.randn(5, 3), [])


def test_curves_have_the_measured_errors() -> None:
    error = SO3Error((0.0, 10.0), (0.0, 0.2), (0.0, 0.5), 3)
    axes = draw_so3_error({"one": error, "two": error}, what="changed")
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [0.0, 0.5])
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_summaries_count_what_there_is() -> None:
    grid = ConcentricGrid(level=2, num_spheres=4, kernel_size=5)
    assert len(grid) == 3 and [len(level) for level in grid] == [4 * 12, 4 * 42, 4 * 162]
    for level in grid:
        counts = [level.num_edges(kind) for kind in ("intra", "radial")]
        assert counts == [level.graph.num_edges(kind) for kind in ("intra", "radial")]
    text = grid._repr_html_()
    assert "4 × 162 = 648" in text and "3,840" in text
    text = html_of(concentric_heterograph(1, 3))
    assert "degrees 5 to 6" in text and "3: 0.333 to 1" in text
    assert "7" in grid.steps[2]._repr_html_()


def test_pictures_that_turn() -> None:
    pytest.importorskip("plotly")
    figure = interactive_heterograph(concentric_heterograph(0, 2))
    assert [trace.name for trace in figure.data] == ["intra", "radial", "vertices"]
    assert len(figure.data[0].x) == 3 * 2 * 30
    assert len(interactive_cloud(np.random.default_rng(0).normal(size=(9, 3))).data[0].x) == 9
