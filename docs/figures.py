"""Draw the pictures of the README and the guide: ``python docs/figures.py`` writes them to docs/images."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

import csgnn_dgl
from csgnn_dgl.data import builtin_shapes

IMAGES = Path(__file__).parent / "images"
LEVEL, SPHERES = 3, 4
INTRA, RADIAL = "#0b6e99", "#d9730d"


def overview() -> None:
    """From a point cloud to the concentric heterograph to features on it."""
    clouds = builtin_shapes("test")
    points = torch.tensor(clouds.points[int(np.flatnonzero(clouds.labels == clouds.class_names.index("airplane"))[2])])
    features = csgnn_dgl.PrismMapping(LEVEL, SPHERES, channels=4)(points[None]).sum(dim=(2, 3))

    figure = plt.figure(figsize=(12, 4.4))
    for position, (title, draw) in enumerate(
        [
            ("a point cloud (N, 3)", lambda axes: draw_cloud(axes, points)),
            ("the heterograph of one level:\nintra and radial edges", draw_graph),
            ("its features on R spheres (R, V, B, C)", lambda axes: draw_features(axes, features)),
        ]
    ):
        axes = figure.add_subplot(1, 3, position + 1, projection="3d")
        axes.set_axis_off()
        axes.set_box_aspect((1, 1, 1), zoom=1.45)
        axes.view_init(elev=22, azim=-50)
        axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
        draw(axes)
        axes.set_title(title, y=-0.04, fontsize=12)
    figure.subplots_adjust(0, 0.08, 1, 1, wspace=0)
    figure.savefig(IMAGES / "overview.png", dpi=110)
    plt.close(figure)


def draw_cloud(axes, points: torch.Tensor) -> None:  # noqa: ANN001 - matplotlib's 3D axes have no types
    """Scatter a cloud."""
    axes.scatter(*points.T, s=4, c=points[:, 2], cmap="viridis", linewidths=0)


def draw_graph(axes) -> None:  # noqa: ANN001
    """Draw three spheres of level 1, cut open, with their intra edges, and the radial edges between them."""
    graph = csgnn_dgl.concentric_heterograph(level=1, num_spheres=3)
    position = graph.nodes["vertex"].data["position"].numpy()
    behind = (position @ np.array([0.6, -0.8, 0.35])) <= 1e-6
    for edge_type, colour, width in (("intra", INTRA, 0.9), ("radial", RADIAL, 1.3)):
        source, target = (side.numpy() for side in graph.edges(etype=edge_type))
        kept = behind[source] & behind[target] & (source < target)
        lines = np.stack([position[source[kept]], position[target[kept]]], axis=1)
        axes.add_collection3d(Line3DCollection(lines, colors=colour, linewidths=width))
    axes.scatter(*position[behind].T, s=9, c="black", depthshade=False)


def draw_features(axes, features: torch.Tensor) -> None:  # noqa: ANN001
    """Colour the faces of the spheres by their features, cut open."""
    sphere = csgnn_dgl.icosphere(LEVEL)
    values = np.log1p(features.numpy() * 3)
    for index in range(SPHERES):
        corners = sphere.vertices[sphere.faces] * (index + 1) / SPHERES
        behind = corners.mean(axis=1) @ np.array([0.6, -0.8, 0.35]) <= 0
        shade = values[index][sphere.faces].mean(axis=1)
        colours = plt.get_cmap("viridis")(shade / values.max())
        colours[:, 3] = 0.25 + 0.75 * np.clip(shade / values.max() * 3, 0, 1)
        faces = Poly3DCollection(corners[behind], facecolors=colours[behind], edgecolors=(0, 0, 0, 0.06), linewidths=0.3)
        axes.add_collection3d(faces)


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    overview()
