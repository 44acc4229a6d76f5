"""Pictures show the vertices, edges and faces that they should."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from csgnn_dgl.errors import InputError
from csgnn_dgl.graphs import concentric_heterograph
from csgnn_dgl.viz import draw_features, draw_heterograph, draw_pooling, spheres
from tests.tolerances import ROUNDED


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def segments(axes, name: str) -> np.ndarray:
    """Return the lines (L, 2, 3) of a kind of edge, which have its colour."""
    colour = matplotlib.colors.to_rgba(spheres.COLOURS[name])
    items = [item for item in axes.collections if hasattr(item, "_segments3d")]
    found = [item._segments3d for item in items if np.allclose(item.get_colors()[0], colour, **ROUNDED)]
    return np.concatenate(found)


def test_all_edges_are_drawn_once() -> None:
    axes = draw_heterograph(concentric_heterograph(1, 3), cut=False)
    assert len(segments(axes, "intra")) == 3 * 120 and len(segments(axes, "radial")) == 2 * 42
    lengths = np.linalg.norm(np.diff(segments(axes, "radial"), axis=1), axis=2)
    np.testing.assert_allclose(lengths, 1 / 3, **ROUNDED)
    assert sorted(text.get_text() for text in axes.get_legend().get_texts()) == ["intra", "radial"]


def test_edges_that_were_removed_are_not_drawn() -> None:
    graph = concentric_heterograph(1, 3)
    graph.remove_edges(np.arange(graph.num_edges("radial")).tolist(), etype="radial")
    axes = draw_heterograph(graph, cut=False)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["intra"]


def test_the_half_in_front_is_left_out() -> None:
    axes = plt.figure().add_subplot(projection="3d")
    assert draw_heterograph(concentric_heterograph(1, 3), axes, title="one level") is axes
    assert 2 * 15 <= len(segments(axes, "radial")) <= 2 * 30
    axes.figure.canvas.draw()


@pytest.mark.parametrize(("vertex", "intra", "radial"), [(42 + 20, 6, 2), (3, 5, 1)])
def test_the_neighbourhood_of_a_vertex_is_picked_out(vertex: int, intra: int, radial: int) -> None:
    axes = draw_heterograph(concentric_heterograph(1, 3), vertex=vertex)
    assert (len(segments(axes, "intra")), len(segments(axes, "radial"))) == (intra, radial)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == [f"{intra} intra neighbours", f"{radial} radial neighbours", f"vertex {vertex}"]


def test_one_sphere_is_picked_out() -> None:
    axes = draw_heterograph(concentric_heterograph(1, 3), cut=False, sphere=0)
    assert (len(segments(axes, "intra")), len(segments(axes, "radial"))) == (120, 42)


def test_what_is_pooled_is_drawn() -> None:
    axes = draw_pooling(2, vertex=0)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["level 2", "level 1", "6 pooled into 0"]
    with pytest.raises(InputError, match="vertex is 42; give 0 to 41"):
        draw_pooling(2, vertex=42)
    with pytest.raises(InputError, match="level is 0; give at least 1"):
        draw_pooling(0)


def test_what_is_not_there_is_refused() -> None:
    graph = concentric_heterograph(0, 2)
    with pytest.raises(InputError, match="sphere is 2; give 0 to 1"):
        draw_heterograph(graph, sphere=2)
    with pytest.raises(InputError, match="pick out one"):
        draw_heterograph(graph, sphere=0, vertex=0)


def test_faces_are_coloured_by_their_values() -> None:
    values = np.zeros((2, 42))
    values[1] = 1.0
    axes = draw_features(values)
    outer, inner = axes.collections
    for item, value in ((outer, 1.0), (inner, 0.0)):
        np.testing.assert_allclose(np.unique(item.get_facecolor(), axis=0), [plt.get_cmap("viridis")(value)], **ROUNDED)
    with pytest.raises(ValueError, match="40 is no icosphere's number of vertices"):
        draw_features(values[:, :40])
    with pytest.raises(InputError, match=r"1 values that are not finite, the first at \(0, 5\)"):
        draw_features(np.where(np.arange(42) == 5, np.nan, values)[:1])
