"""Pictures show the vertices, edges and faces that they should."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from csgnn_dgl.graphs import concentric_heterograph, draw_features, draw_heterograph
from tests.tolerances import ROUNDED


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_all_edges_are_drawn_once() -> None:
    axes = draw_heterograph(concentric_heterograph(1, 3), cut=False)
    lines = {item.get_label(): item for item in axes.collections if item.get_label() in ("intra", "radial")}
    assert len(lines["intra"]._segments3d) == 3 * 120 and len(lines["radial"]._segments3d) == 2 * 42
    lengths = np.linalg.norm(np.diff(lines["radial"]._segments3d, axis=1), axis=2)
    np.testing.assert_allclose(lengths, 1 / 3, **ROUNDED)


def test_the_half_in_front_is_left_out() -> None:
    axes = plt.figure().add_subplot(projection="3d")
    assert draw_heterograph(concentric_heterograph(1, 3), axes) is axes
    shown = [len(item._segments3d) for item in axes.collections if item.get_label() == "radial"]
    assert 2 * 15 <= shown[0] <= 2 * 27
    axes.figure.canvas.draw()


def test_faces_are_coloured_by_their_values() -> None:
    values = np.zeros((2, 42))
    values[1, 0] = 1.0
    axes = draw_features(values, cut=False)
    inner, outer = axes.collections
    assert len(np.unique(inner.get_facecolor(), axis=0)) == 1
    colours, counts = np.unique(outer.get_facecolor(), axis=0, return_counts=True)
    assert sorted(counts) == [5, 75] and len(colours) == 2  # the five faces at vertex 0
    with pytest.raises(ValueError, match="40 is no icosphere's number of vertices"):
        draw_features(values[:, :40])
